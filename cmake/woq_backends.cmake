# Which backends are built: sets WOQ_HAVE_OPENCL, WOQ_HAVE_VULKAN, WOQ_HAVE_CUDA, as CMake variables and, for the
# sources, as macros that are 1 or absent; and the compilers WOQ_GLSLC, WOQ_SPIRV_VAL, WOQ_NVCC.

include(CheckCSourceCompiles)

# woq_decide(<BACKEND> <lacks>): lacks is empty, or says in words what is not there.
function(woq_decide backend lacks)
    set(have 0)
    if(NOT WOQ_${backend} MATCHES "^(AUTO|ON|OFF)$")
        message(FATAL_ERROR "WOQ_${backend} is '${WOQ_${backend}}'; it takes AUTO, ON or OFF")
    elseif(WOQ_${backend} STREQUAL "OFF")
        message(STATUS "woq: ${backend} backend left out, as asked")
    elseif(NOT lacks)
        set(have 1)
        message(STATUS "woq: ${backend} backend")
    elseif(WOQ_${backend} STREQUAL "ON")
        message(FATAL_ERROR "WOQ_${backend}=ON, but ${lacks}; tools/setup.sh installs what is needed")
    else()
        message(STATUS "woq: ${backend} backend left out: ${lacks}")
    endif()
    set(WOQ_HAVE_${backend} ${have} PARENT_SCOPE)
    if(have)
        target_compile_definitions(woq_internal INTERFACE WOQ_HAVE_${backend}=1)
    endif()
endfunction()

# woq_compiles(<source> <variable>): whether it does. A no is not kept: what was missing may have been installed since.
set(CMAKE_REQUIRED_QUIET ON)
macro(woq_compiles source variable)
    if(NOT ${variable})
        unset(${variable} CACHE)
    endif()
    check_c_source_compiles("${source}" ${variable})
endmacro()

# OpenCL: headers only.
woq_compiles("#define CL_TARGET_OPENCL_VERSION 300
    #include <CL/cl_ext.h>
    int main(void) { return 0; }" WOQ_CL_HEADERS)
if(WOQ_CL_HEADERS)
    woq_decide(OPENCL "")
else()
    woq_decide(OPENCL "the header CL/cl_ext.h is missing or too old")
endif()

# Vulkan: headers and a glslc that know cooperative matrices.
woq_compiles("#include <vulkan/vulkan_core.h>
    int main(void) { return (int)sizeof(VkCooperativeMatrixPropertiesKHR); }" WOQ_VK_HEADERS)
find_program(WOQ_GLSLC glslc)
find_program(WOQ_SPIRV_VAL spirv-val)
# woq_glslc_knows(<variable> <extension> <target environment>): ON, and kept, if glslc compiles for it.
function(woq_glslc_knows variable extension target_env)
    if(NOT WOQ_GLSLC OR DEFINED ${variable})
        return()
    endif()
    set(probe ${CMAKE_BINARY_DIR}/CMakeFiles/${extension}.comp)
    file(WRITE ${probe} "#version 450\n#extension ${extension} : require\nvoid main() {}\n")
    execute_process(COMMAND ${WOQ_GLSLC} --target-env=${target_env} -o ${probe}.spv ${probe}
                    RESULT_VARIABLE failed OUTPUT_QUIET ERROR_QUIET)
    if(failed STREQUAL "0")
        set(${variable} ON CACHE INTERNAL "glslc knows ${extension}")
    endif()
endfunction()
woq_glslc_knows(WOQ_GLSLC_COOPMAT GL_KHR_cooperative_matrix vulkan1.1)
if(WOQ_GLSLC_COOPMAT)
    woq_glslc_knows(WOQ_GLSLC_COOPMAT2 GL_NV_cooperative_matrix2 vulkan1.3) # without it kernel nv2 is left out
endif()
if(NOT WOQ_VK_HEADERS)
    woq_decide(VULKAN "vulkan/vulkan_core.h is missing or knows no VK_KHR_cooperative_matrix")
elseif(NOT WOQ_GLSLC)
    woq_decide(VULKAN "glslc is missing")
elseif(NOT WOQ_GLSLC_COOPMAT)
    woq_decide(VULKAN "${WOQ_GLSLC} knows no GL_KHR_cooperative_matrix")
else()
    woq_decide(VULKAN "")
endif()

# CUDA: nvcc at build time; at run time nothing but the driver.
find_program(WOQ_NVCC nvcc HINTS ENV CUDA_PATH ENV WOQ_DRIVERS_DIR ${PROJECT_SOURCE_DIR}/build/drivers
             PATHS /usr/local/cuda PATH_SUFFIXES bin cuda/bin)
if(WOQ_NVCC)
    file(REAL_PATH ${WOQ_NVCC} nvcc)
    cmake_path(GET nvcc PARENT_PATH root)
    cmake_path(GET root PARENT_PATH root)
    find_path(WOQ_CUDA_INCLUDE cuda.h HINTS ${root}/include ${root}/targets/x86_64-linux/include
              ${root}/targets/sbsa-linux/include)
endif()
if(NOT WOQ_NVCC)
    woq_decide(CUDA "nvcc is missing")
elseif(NOT WOQ_CUDA_INCLUDE)
    woq_decide(CUDA "${WOQ_NVCC} has no cuda.h beside it")
else()
    woq_decide(CUDA "")
    if(WOQ_HAVE_CUDA)
        target_include_directories(woq_internal SYSTEM INTERFACE ${WOQ_CUDA_INCLUDE})
    endif()
endif()
