# cmake -DIN=x.ptx -DOUT=y.ptx -DVERSION=7.4 -P opencl_ptx.cmake: PTX of nvcc as NVIDIA's OpenCL wants it (PTX ISA,
# "Kernel Function Parameters", ".target"): parameters that are buffers, or shared memory, say so, in the order of
# WOQ_PARAMETERS in shaders/cuda/common.cuh; textures, of which there are none, are OpenCL's. VERSION: of PTX, the first
# that knows all that the kernels use, as drivers refuse what is later than they are and nvcc writes its own.
file(READ ${IN} text)
string(REGEX REPLACE "\n//[^\n]*" "" text "${text}")
string(REGEX REPLACE "\n\\.version [0-9.]+" "\n.version ${VERSION}" text "${text}")
string(REGEX REPLACE "\n\\.target ([a-z0-9_]+)" "\n.target \\1, texmode_independent" text "${text}")
set(parameter "(\\.param \\.u64) ([A-Za-z0-9_]+_param_")
string(REGEX REPLACE "${parameter}([02468]|12|14)[,\n])" "\\1 .ptr .global .align 16 \\2" text "${text}")
string(REGEX REPLACE "${parameter}11[,\n])" "\\1 .ptr .shared .align 16 \\2" text "${text}")
string(REGEX MATCHALL "\\.entry " entries "${text}")
string(REGEX MATCHALL "\\.ptr \\.global" buffers "${text}")
string(REGEX MATCHALL "\\.ptr \\.shared" shared "${text}")
list(LENGTH entries count)
list(LENGTH buffers have)
list(LENGTH shared have_shared)
math(EXPR few "${count} * 5") # each a buffer and an offset; behind them the arguments and shared memory,
math(EXPR many "${count} * 7") # and two more of them
if(NOT count OR NOT (have EQUAL few OR have EQUAL many) OR NOT have_shared EQUAL count)
    message(FATAL_ERROR "${IN}: ${count} kernels with ${have} buffers and ${have_shared} parameters of shared memory; "
                        "there must be 5 or 7, and 1, for each")
endif()
file(WRITE ${OUT} "${text}")
