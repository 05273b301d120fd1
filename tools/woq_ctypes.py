"""woq_ctypes.py: what compare_cuda.py and compare_cpu.py need of libwoq, through ctypes.

Structs and constants are those of include/woq/*.h, in their order; tests/compare_cuda_test.py holds them against the
headers. Objects free themselves in `with` blocks; a failed call raises Error with woq_last_message().
"""
import ctypes as c
import time

U4, U8, F16_CODES = 1, 2, 3                  # enum woq_code
ZERO_NONE, SYMMETRIC, ZERO_POINT = 0, 1, 2   # enum woq_zero
TYPE_NONE, F32, F16, BF16 = 0, 1, 2, 3       # enum woq_type
READ, WRITE = 1, 2                           # enum woq_access
MATH = {"default": 0, "exact": 1, "rounded": 2, "fixed16": 3}  # enum woq_math
FEATURE_TIMESTAMPS = 1 << 6
NO_SLOT, FOREVER = 0xFFFFFFFF, 0xFFFFFFFFFFFFFFFF


class Format(c.Structure):
    NAME = "woq_format"
    _fields_ = [("struct_size", c.c_size_t), ("code", c.c_int), ("zero", c.c_int), ("scale", c.c_int),
                ("group", c.c_uint64), ("g_idx", c.c_bool)]


class Source(c.Structure):
    NAME = "woq_weights_source"
    _fields_ = [("struct_size", c.c_size_t), ("format", Format), ("n", c.c_uint64), ("k", c.c_uint64),
                ("codes", c.c_void_p), ("row_stride", c.c_uint64), ("scales", c.c_void_p), ("zeros", c.c_void_p),
                ("g_idx", c.c_void_p)]


class WeightsParams(c.Structure):
    NAME = "woq_weights_params"
    _fields_ = [("struct_size", c.c_size_t), ("sources", c.POINTER(Source)), ("count", c.c_uint32),
                ("gated", c.c_bool)]


class WeightsInfo(c.Structure):
    NAME = "woq_weights_info"
    _fields_ = [("struct_size", c.c_size_t), ("format", Format), ("n", c.c_uint64), ("k", c.c_uint64),
                ("gated", c.c_bool), ("device_bytes", c.c_uint64), ("payload_bytes", c.c_uint64),
                ("tiles", c.c_uint32), ("fp16_safe", c.c_bool), ("device_packed", c.c_bool), ("pack_ns", c.c_uint64)]


class GemmParams(c.Structure):
    NAME = "woq_gemm_params"
    _fields_ = [("struct_size", c.c_size_t), ("weights", c.c_void_p), ("max_m", c.c_uint32), ("x_type", c.c_int),
                ("y_type", c.c_int), ("bias_type", c.c_int), ("residual", c.c_bool), ("activation", c.c_int),
                ("math", c.c_int), ("path", c.c_char_p), ("batch_invariant", c.c_bool)]


class Rejected(c.Structure):
    _fields_ = [("path", c.c_char_p), ("reason", c.c_char_p)]


class Explain(c.Structure):
    NAME = "woq_explain"
    _fields_ = [("struct_size", c.c_size_t), ("path", c.c_char_p), ("kernel", c.c_char_p), ("layout", c.c_char_p),
                ("math", c.c_int), ("steps", c.c_uint32), ("workspace", c.c_uint64), ("rejected_count", c.c_uint32),
                ("rejected", Rejected * 16), ("tuning", c.c_uint64), ("quarantine", c.c_uint64),
                ("variant", c.c_char_p), ("decided", c.c_char_p),
                ("limit", c.c_int), ("limit_work", c.c_uint32)]


class DeviceInfo(c.Structure):
    NAME = "woq_device_info"
    _fields_ = [("struct_size", c.c_size_t), ("backend", c.c_int), ("kind", c.c_int), ("index", c.c_uint32),
                ("name", c.c_char * 128), ("vendor", c.c_char * 64), ("driver", c.c_char * 128),
                ("selector", c.c_char * 16), ("features", c.c_uint32), ("compute_units", c.c_uint32),
                ("subgroup_size", c.c_uint32), ("max_workgroup", c.c_uint32), ("max_groups", c.c_uint32 * 3),
                ("max_allocation", c.c_uint64), ("max_binding", c.c_uint64), ("binding_alignment", c.c_uint32),
                ("shared_memory", c.c_uint32), ("memory", c.c_uint64), ("timestamp_period", c.c_double),
                ("architecture", c.c_char * 32)]


class BufferParams(c.Structure):
    NAME = "woq_buffer_params"
    _fields_ = [("struct_size", c.c_size_t), ("size", c.c_uint64), ("flags", c.c_uint32)]


class View(c.Structure):
    NAME = "woq_view"
    _fields_ = [("buffer", c.c_void_p), ("offset", c.c_uint64), ("row_stride", c.c_uint64)]


class CommandsParams(c.Structure):
    NAME = "woq_commands_params"
    _fields_ = [("struct_size", c.c_size_t), ("in_flight", c.c_uint32), ("workspace", View)]


class Binding(c.Structure):
    NAME = "woq_binding"
    _fields_ = [("slot", c.c_uint32), ("m", c.c_uint32), ("view", View)]


STRUCTS = [Format, Source, WeightsParams, WeightsInfo, GemmParams, Explain, DeviceInfo, BufferParams, View,
           CommandsParams, Binding]
CONSTANTS = {"WOQ_MATH_DEFAULT": MATH["default"], "WOQ_MATH_EXACT": MATH["exact"],
             "WOQ_MATH_ROUNDED": MATH["rounded"], "WOQ_MATH_FIXED16": MATH["fixed16"],
             "WOQ_CODE_U4": U4, "WOQ_CODE_U8": U8, "WOQ_CODE_F16": F16_CODES, "WOQ_ZERO_NONE": ZERO_NONE,
             "WOQ_ZERO_SYMMETRIC": SYMMETRIC, "WOQ_ZERO_POINT": ZERO_POINT, "WOQ_TYPE_NONE": TYPE_NONE,
             "WOQ_F32": F32, "WOQ_F16": F16, "WOQ_BF16": BF16, "WOQ_ACCESS_READ": READ, "WOQ_ACCESS_WRITE": WRITE,
             "WOQ_FEATURE_TIMESTAMPS": FEATURE_TIMESTAMPS, "WOQ_NO_SLOT": NO_SLOT, "WOQ_FOREVER": FOREVER}

HANDLE, OUT = c.c_void_p, c.c_void_p
FUNCTIONS = {  # all return enum woq_status
    "woq_device_open": [c.c_char_p, c.c_void_p, OUT],
    "woq_weights_create": [HANDLE, c.POINTER(WeightsParams), OUT],
    "woq_weights_get_info": [HANDLE, c.POINTER(WeightsInfo)],
    "woq_gemm_create": [HANDLE, c.POINTER(GemmParams), OUT],
    "woq_gemm_explain": [HANDLE, c.c_uint32, c.POINTER(Explain)],
    "woq_buffer_create": [HANDLE, c.POINTER(BufferParams), OUT],
    "woq_buffer_write": [HANDLE, c.c_uint64, c.c_void_p, c.c_uint64],
    "woq_buffer_read": [HANDLE, c.c_uint64, c.c_void_p, c.c_uint64],
    "woq_commands_create": [HANDLE, c.POINTER(CommandsParams), OUT],
    "woq_commands_slot_m": [HANDLE, c.c_uint32, c.POINTER(c.c_uint32)],
    "woq_commands_slot_view": [HANDLE, c.c_int, c.POINTER(c.c_uint32)],
    "woq_commands_gemm": [HANDLE] + [HANDLE] + [c.c_uint32] * 5,
    "woq_commands_barrier": [HANDLE],
    "woq_commands_timestamp": [HANDLE, c.c_uint32],
    "woq_commands_end": [HANDLE],
    "woq_commands_run": [HANDLE, c.POINTER(Binding), c.c_size_t, c.POINTER(c.c_uint64)],
    "woq_commands_wait": [HANDLE, c.c_uint64, c.c_uint64],
    "woq_commands_timestamps": [HANDLE, c.c_uint64, c.POINTER(c.c_uint64), c.c_size_t],
}


class Error(Exception):
    pass


class Library:
    """libwoq.so. lib.call("woq_x", …) raises unless WOQ_OK."""

    def __init__(self, path):
        self.dll = c.CDLL(path)
        for name, types in FUNCTIONS.items():
            function = getattr(self.dll, name)
            function.argtypes, function.restype = types, c.c_int
        self.dll.woq_last_message.restype = c.c_char_p
        self.dll.woq_version_string.restype = c.c_char_p
        self.dll.woq_device_get_info.argtypes = [HANDLE]
        self.dll.woq_device_get_info.restype = c.POINTER(DeviceInfo)

    def call(self, name, *args):
        if getattr(self.dll, name)(*args):
            raise Error(self.dll.woq_last_message().decode(errors="replace"))

    def version(self):
        return self.dll.woq_version_string().decode()


class Object:
    """A handle, destroyed by woq_<kind>_destroy at the end of a `with`, by close(), or with the object."""

    def __init__(self, lib, kind, create, *args):
        self.lib, self.kind, self.handle = lib, kind, c.c_void_p()
        lib.call(create, *args, c.byref(self.handle))

    def close(self):
        if self.handle:
            destroy = getattr(self.lib.dll, f"woq_{self.kind}_destroy")
            destroy.argtypes, destroy.restype = [c.c_void_p], None
            destroy(c.byref(self.handle))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def __del__(self):
        if hasattr(self, "handle"):
            self.close()


class Device(Object):
    def __init__(self, lib, selector):
        super().__init__(lib, "device", "woq_device_open", selector.encode() if selector else None, None)
        self.info = lib.dll.woq_device_get_info(self.handle).contents


class Buffer(Object):
    def __init__(self, device, size):
        params = BufferParams(c.sizeof(BufferParams), size, 0)
        super().__init__(device.lib, "buffer", "woq_buffer_create", device.handle, c.byref(params))
        self.size = size

    def write(self, data):
        self.lib.call("woq_buffer_write", self.handle, 0, data, len(data))

    def read(self):
        out = c.create_string_buffer(self.size)
        self.lib.call("woq_buffer_read", self.handle, 0, out, self.size)
        return out.raw


class Weights(Object):
    """fmt: a Format; codes, scales, zeros: bytes in canonical form, or None."""

    def __init__(self, device, fmt, n, k, codes, scales, zeros):
        def address(data):
            return c.cast(c.c_char_p(data), c.c_void_p) if data else None

        source = Source(c.sizeof(Source), fmt, n, k, address(codes), 0, address(scales), address(zeros), None)
        params = WeightsParams(c.sizeof(WeightsParams), c.pointer(source), 1, False)
        super().__init__(device.lib, "weights", "woq_weights_create", device.handle, c.byref(params))
        self.info = WeightsInfo(c.sizeof(WeightsInfo))
        self.lib.call("woq_weights_get_info", self.handle, c.byref(self.info))


class Gemm(Object):
    def __init__(self, device, weights, max_m, x_type=F16, y_type=F16, math=MATH["default"]):
        params = GemmParams(c.sizeof(GemmParams), weights.handle, max_m, x_type, y_type, math=math)
        super().__init__(device.lib, "gemm", "woq_gemm_create", device.handle, c.byref(params))

    def kernel(self, m):
        out = Explain(c.sizeof(Explain))
        self.lib.call("woq_gemm_explain", self.handle, m, c.byref(out))
        return out.path.decode(), out.kernel.decode()


class Batch(Object):
    """`count` products over the GEMMs in turn, each after the one before, between timestamps 0 and 1."""

    def __init__(self, device, gemms, count, m, x, y):
        params = CommandsParams(c.sizeof(CommandsParams), 1)
        lib = device.lib
        super().__init__(lib, "commands", "woq_commands_create", device.handle, c.byref(params))
        slot = [c.c_uint32() for _ in range(3)]
        lib.call("woq_commands_slot_m", self.handle, m, c.byref(slot[0]))
        lib.call("woq_commands_slot_view", self.handle, READ, c.byref(slot[1]))
        lib.call("woq_commands_slot_view", self.handle, WRITE, c.byref(slot[2]))
        lib.call("woq_commands_timestamp", self.handle, 0)
        for i in range(count):
            lib.call("woq_commands_gemm", self.handle, gemms[i % len(gemms)].handle, *slot, NO_SLOT, NO_SLOT)
            lib.call("woq_commands_barrier", self.handle)
        lib.call("woq_commands_timestamp", self.handle, 1)
        lib.call("woq_commands_end", self.handle)
        self.bindings = (Binding * 3)(Binding(slot[0], m), Binding(slot[1], 0, View(x.handle)),
                                      Binding(slot[2], 0, View(y.handle)))
        self.count = count
        self.keep = (gemms, x, y)

    def run(self):
        """Runs once, to the end."""
        ticket = c.c_uint64()
        self.lib.call("woq_commands_run", self.handle, self.bindings, 3, c.byref(ticket))
        self.lib.call("woq_commands_wait", self.handle, ticket, FOREVER)
        return ticket

    def seconds(self):
        """Runs once; seconds of one product by the device's clock."""
        ticket, ns = self.run(), (c.c_uint64 * 2)()
        self.lib.call("woq_commands_timestamps", self.handle, ticket, ns, 2)
        return (ns[1] - ns[0]) * 1e-9 / self.count

    def host_seconds(self):
        """Runs once; seconds of one product by the host's clock, submission and waiting included."""
        begin = time.perf_counter()
        self.run()
        return (time.perf_counter() - begin) / self.count
