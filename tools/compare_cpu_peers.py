"""compare_cpu_peers.py: ONNX Runtime and PyTorch as contenders of compare_cpu.py.

A class for each: a name, a label, the format whose weights it multiplies, the PyPI packages it needs, the error it may
have, and __init__(data, threads, rotate), which packs the weights and raises Skip where it cannot take part. Then
prepare(m, x) → a function that runs a batch and gives seconds a product by the host's clock; result() → Y of the last
product. What packs is plain Python on bytes, so that it is tested without the packages.
"""
import array
import struct
import sys
import time

import compare_common as common
import compare_cpu_check as check
from compare_common import Skip, first_line

BATCH_SECONDS = 2e-2
GROUP = 128

# The largest difference from the product in float64, in units of its root mean square. Of millions of normal errors
# the largest is 5 to 6 of their standard deviations, which are: FP32 sums with FP16 Y, 3e-4; BF16 X, W and Y, 3e-3;
# X in steps of 1/127 of a group's largest value, 2.7 of its deviations, 6e-3.
FLOAT, BF16, INT8 = 5e-3, 3e-2, 6e-2


# ---- Packing ----

def float_scales(data):
    """FP32, [N][groups]."""
    return array.array("f", struct.unpack(f"<{data.n * data.groups}e", data.scales))


def pack_ort(data):
    """MatMulNBits' B, uint8 [N][groups][GROUP · bits / 8], low nibble first, and FP32 scales [N][groups].

    Without zero points its zero is 2^(bits-1), as ours. Where groups are whole, B has the bytes of canonical codes.
    """
    if data.k % GROUP:
        raise Skip(f"takes K of whole {GROUP}")
    return data.codes, float_scales(data).tobytes()


def pack_int4(data):
    """For torch: int32 codes [N][K], and FP32 pairs (scale, 0) [groups][N]: w = scale · (code - 8) + 0."""
    if data.k % GROUP or data.n % 16:
        raise Skip(f"takes N of whole 16 and K of whole {GROUP}")
    pairs, scales = array.array("f", bytes(8 * data.n * data.groups)), float_scales(data)
    for g in range(data.groups):
        pairs[2 * g * data.n:2 * (g + 1) * data.n:2] = scales[g::data.groups]
    codes = bytearray(4 * data.n * data.k)
    codes[(0 if sys.byteorder == "little" else 3)::4] = check.codes_of(data)
    return bytes(codes), pairs.tobytes()


# ---- Contenders ----

class Peer:
    """Subclasses: make() → a copy of the weights, and its size; begin(m, x), multiply(copy), result()."""

    def __init__(self, data, threads, rotate):
        self.data, self.threads = data, threads
        self.copies, size = [], 0
        while not self.copies or len(self.copies) < common.copies_for(rotate, size):
            copy, size = self.make()
            self.copies.append(copy)

    def prepare(self, m, x):
        self.begin(m, x)
        self.multiply(self.copies[0])
        count = common.products(self.pass_over(1), len(self.copies), BATCH_SECONDS)

        def seconds():
            self.pass_over(count)  # wakes cores and threads, and brings into the cache what fits
            return self.pass_over(count)
        return seconds

    def pass_over(self, count):
        """Seconds a product."""
        begin = time.perf_counter()
        for i in range(count):
            self.multiply(self.copies[i % len(self.copies)])
        return (time.perf_counter() - begin) / count


class Ort(Peer):
    """MatMulNBits of ONNX Runtime, X and Y in FP32 and in place. accuracy: its accuracy_level."""
    packages = ("numpy", "onnx", "onnxruntime")

    def make(self):
        try:
            import onnxruntime
        except ImportError as e:
            raise Skip(f"not installed ({first_line(e)})") from None
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = self.threads, 1
        codes, scales = pack_ort(self.data)
        try:
            session = onnxruntime.InferenceSession(self.model(codes, scales), options,
                                                   providers=["CPUExecutionProvider"])
        except ImportError as e:
            raise Skip(f"not installed ({first_line(e)})") from None
        except Exception as e:  # its errors have no common class but this
            raise Skip(f"ONNX Runtime {onnxruntime.__version__} has no MatMulNBits of {self.data.bits} bits and "
                       f"accuracy_level {self.accuracy}: {first_line(e)}") from None
        self.version = onnxruntime.__version__
        return {"session": session}, len(codes) + len(scales)

    def model(self, codes, scales):
        from onnx import TensorProto, helper
        d = self.data
        initializers = [
            helper.make_tensor("B", TensorProto.UINT8, (d.n, d.groups, GROUP * d.bits // 8), codes, raw=True),
            helper.make_tensor("scales", TensorProto.FLOAT, (d.n, d.groups), scales, raw=True)]
        node = helper.make_node("MatMulNBits", ["X", "B", "scales"], ["Y"], domain="com.microsoft", K=d.k, N=d.n,
                                bits=d.bits, block_size=GROUP, accuracy_level=self.accuracy)
        graph = helper.make_graph([node], "product",
                                  [helper.make_tensor_value_info("X", TensorProto.FLOAT, ["M", d.k])],
                                  [helper.make_tensor_value_info("Y", TensorProto.FLOAT, ["M", d.n])], initializers)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17),
                                                        helper.make_opsetid("com.microsoft", 1)])
        model.ir_version = 8  # onnx may be newer than what the runtime reads
        return model.SerializeToString()

    def begin(self, m, x):
        numpy = check.numpy
        self.x = numpy.frombuffer(x, "<f2").reshape(m, self.data.k).astype("f4")
        self.y = numpy.full((m, self.data.n), numpy.nan, "f4")
        for copy in self.copies:
            copy["binding"] = binding = copy["session"].io_binding()
            binding.bind_input("X", "cpu", 0, numpy.float32, self.x.shape, self.x.ctypes.data)
            binding.bind_output("Y", "cpu", 0, numpy.float32, self.y.shape, self.y.ctypes.data)

    def multiply(self, copy):
        copy["session"].run_with_iobinding(copy["binding"])

    def result(self):
        return self.y


class OrtFloat(Ort):
    name, label, against, tolerance, accuracy = "ort-float", "ORT W4 float", "w4g128", FLOAT, 1


class OrtInt8(Ort):
    name, label, against, tolerance, accuracy = "ort-int8", "ORT W4 int8 X", "w4g128", INT8, 4


class OrtW8(Ort):
    name, label, against, tolerance, accuracy = "ort-w8", "ORT W8 int8 X", "w8g128", INT8, 4


class Torch(Peer):
    """X and Y in BF16."""
    packages = ("numpy", "torch")

    def make(self):
        try:
            import torch
        except (ImportError, OSError) as e:
            raise Skip(f"not installed ({first_line(e)})") from None
        self.torch, self.version = torch, torch.__version__
        torch.set_num_threads(self.threads)
        torch.set_grad_enabled(False)
        try:
            return self.pack()
        except (RuntimeError, AttributeError, NotImplementedError) as e:
            raise Skip(f"PyTorch {torch.__version__}: {first_line(e)}") from None

    def tensor(self, data, dtype, *shape):
        return self.torch.frombuffer(bytearray(data), dtype=getattr(self.torch, dtype)).view(*shape)

    def begin(self, m, x):
        self.x = self.tensor(x, "float16", m, self.data.k).bfloat16()

    def result(self):
        return self.y.float().numpy()


class TorchBf16(Torch):
    name, label, against, tolerance = "torch-bf16", "torch bf16", "w4g128", BF16

    def pack(self):
        w = self.torch.cat([self.torch.from_numpy(rows).bfloat16() for rows in check.dense(self.data)])
        return w, 2 * w.numel()

    def multiply(self, w):
        self.y = self.torch.nn.functional.linear(self.x, w)


class TorchInt4(Torch):
    name, label, against, tolerance = "torch-int4", "torch int4 bf16", "w4g128", BF16

    def pack(self):
        d, aten = self.data, self.torch.ops.aten
        codes, pairs = pack_int4(d)
        packed = aten._convert_weight_to_int4pack_for_cpu(self.tensor(codes, "int32", d.n, d.k), 1)
        return (packed, self.tensor(pairs, "float32", d.groups, d.n, 2).bfloat16()), d.n * d.k // 2

    def multiply(self, w):
        self.y = self.torch.ops.aten._weight_int4pack_mm_for_cpu(self.x, w[0], GROUP, w[1])


KINDS = {kind.name: kind for kind in (OrtFloat, OrtInt8, TorchBf16, TorchInt4, OrtW8)}
