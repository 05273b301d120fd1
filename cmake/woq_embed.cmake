# Device code into the library. Each function compiles or joins its sources, and adds to woq_objects a C source with
#     const unsigned char <symbol>[];     16-byte aligned, one zero byte after its end, so that text is a C string
#     const size_t <symbol>_size;         bytes, without that zero
# The user declares both extern. Symbols begin with woqi_.

set(WOQ_EMBED_SCRIPT ${CMAKE_CURRENT_LIST_DIR}/embed.cmake)
set(WOQ_LOGGED_SCRIPT ${CMAKE_CURRENT_LIST_DIR}/logged.cmake)

# woq_embed(<target> <symbol> <file>...): the files one after the other.
function(woq_embed target symbol)
    set(out ${CMAKE_CURRENT_BINARY_DIR}/embed/${symbol}.c)
    set(files)
    foreach(file IN LISTS ARGN)
        cmake_path(ABSOLUTE_PATH file BASE_DIRECTORY ${CMAKE_CURRENT_SOURCE_DIR})
        list(APPEND files ${file})
    endforeach()
    add_custom_command(OUTPUT ${out}
        COMMAND ${CMAKE_COMMAND} -DSYMBOL=${symbol} "-DFILES=${files}" -DOUT=${out} -P ${WOQ_EMBED_SCRIPT}
        DEPENDS ${files} ${WOQ_EMBED_SCRIPT} VERBATIM COMMENT "Embedding ${symbol}")
    # The target may belong to another folder, where this rule is not known: the custom target orders the two.
    add_custom_target(embed_${symbol} DEPENDS ${out})
    add_dependencies(${target} embed_${symbol})
    set_source_files_properties(${out} TARGET_DIRECTORY ${target} PROPERTIES GENERATED ON)
    target_sources(${target} PRIVATE ${out})
endfunction()

# woq_add_opencl(SYMBOL <symbol> SOURCES <file>...): OpenCL C, joined in this order, as there are no include files at
# run time. #line keeps the driver's messages readable.
function(woq_add_opencl)
    cmake_parse_arguments(PARSE_ARGV 0 arg "" "SYMBOL" "SOURCES")
    woq_embed(woq_objects ${arg_SYMBOL} ${arg_SOURCES})
endfunction()

# woq_add_spirv(SYMBOL <symbol> SOURCE <file.comp> [DEFINES <name=value>...] [TARGET_ENV <vulkan1.1>])
function(woq_add_spirv)
    cmake_parse_arguments(PARSE_ARGV 0 arg "" "SYMBOL;SOURCE;TARGET_ENV" "DEFINES")
    if(NOT arg_TARGET_ENV)
        set(arg_TARGET_ENV vulkan1.1)
    endif()
    set(source ${arg_SOURCE})
    cmake_path(ABSOLUTE_PATH source BASE_DIRECTORY ${CMAKE_CURRENT_SOURCE_DIR} NORMALIZE)
    set(spv ${CMAKE_CURRENT_BINARY_DIR}/${arg_SYMBOL}.spv)
    list(TRANSFORM arg_DEFINES PREPEND -D)
    set(validate)
    if(WOQ_SPIRV_VAL)
        set(validate COMMAND ${WOQ_SPIRV_VAL} --target-env ${arg_TARGET_ENV} ${spv})
    endif()
    add_custom_command(OUTPUT ${spv}
        COMMAND ${WOQ_GLSLC} --target-env=${arg_TARGET_ENV} -O -Werror -fshader-stage=compute
                -I ${PROJECT_SOURCE_DIR}/shaders -I ${PROJECT_SOURCE_DIR}/shaders/vulkan ${arg_DEFINES}
                -MD -MF ${spv}.d -MT ${spv} -o ${spv} ${source}
        ${validate}
        DEPENDS ${source} DEPFILE ${spv}.d VERBATIM COMMENT "Compiling ${arg_SYMBOL} to SPIR-V")
    woq_embed(woq_objects ${arg_SYMBOL} ${spv})
endfunction()

# woq_add_fatbin(SYMBOL <symbol> SOURCE <file.cu> [DEFINES <name=value>...] [ARCHS <75>... <90-virtual>])
# What ptxas says of registers and spills is kept beside the fatbin as <symbol>.ptxas.txt.
function(woq_add_fatbin)
    cmake_parse_arguments(PARSE_ARGV 0 arg "" "SYMBOL;SOURCE" "DEFINES;ARCHS")
    if(NOT arg_ARCHS)
        set(arg_ARCHS ${WOQ_CUDA_ARCHS})
    endif()
    set(codes)
    foreach(arch IN LISTS arg_ARCHS)
        if(arch MATCHES "^(.+)-virtual$")
            list(APPEND codes -gencode arch=compute_${CMAKE_MATCH_1},code=compute_${CMAKE_MATCH_1})
        else()
            list(APPEND codes -gencode arch=compute_${arch},code=sm_${arch})
        endif()
    endforeach()
    set(source ${arg_SOURCE})
    cmake_path(ABSOLUTE_PATH source BASE_DIRECTORY ${CMAKE_CURRENT_SOURCE_DIR} NORMALIZE)
    set(fatbin ${CMAKE_CURRENT_BINARY_DIR}/${arg_SYMBOL}.fatbin)
    list(TRANSFORM arg_DEFINES PREPEND -D)
    add_custom_command(OUTPUT ${fatbin}
        COMMAND ${CMAKE_COMMAND} -DLOG=${CMAKE_CURRENT_BINARY_DIR}/${arg_SYMBOL}.ptxas.txt -P ${WOQ_LOGGED_SCRIPT} --
                ${WOQ_NVCC} -ccbin ${CMAKE_C_COMPILER} -fatbin -std=c++17 -O3 ${codes} -Xptxas -v
                -I ${PROJECT_SOURCE_DIR}/shaders -I ${PROJECT_SOURCE_DIR}/shaders/cuda ${arg_DEFINES}
                -MD -MF ${fatbin}.d -MT ${fatbin} -o ${fatbin} ${source}
        DEPENDS ${source} ${WOQ_LOGGED_SCRIPT} DEPFILE ${fatbin}.d VERBATIM COMMENT "Compiling ${arg_SYMBOL} with nvcc")
    woq_embed(woq_objects ${arg_SYMBOL} ${fatbin})
endfunction()

# woq_add_opencl_ptx(SYMBOL <symbol> SOURCE <file.cu> [DEFINES <name=value>...] ARCH <80>): a text, for NVIDIA's OpenCL,
# which its driver compiles for the device. That it can be, ptxas tells now.
set(WOQ_OPENCL_PTX_SCRIPT ${CMAKE_CURRENT_LIST_DIR}/opencl_ptx.cmake)
function(woq_add_opencl_ptx)
    cmake_parse_arguments(PARSE_ARGV 0 arg "" "SYMBOL;SOURCE;ARCH" "DEFINES")
    set(path ${CMAKE_CURRENT_BINARY_DIR}/${arg_SYMBOL})
    set(version 7.4) # R470, CUDA 11.4
    if(arg_ARCH MATCHES "^90")
        set(version 8.0) # R525, CUDA 12.0
    endif()
    list(TRANSFORM arg_DEFINES PREPEND -D)
    add_custom_command(OUTPUT ${path}.ptx
        COMMAND ${WOQ_NVCC} -ccbin ${CMAKE_C_COMPILER} -ptx -std=c++17 -O3 -arch=compute_${arg_ARCH} -DOPENCL=1
                -I ${PROJECT_SOURCE_DIR}/shaders -I ${PROJECT_SOURCE_DIR}/shaders/cuda ${arg_DEFINES}
                -MD -MF ${path}.d -MT ${path}.ptx -o ${path}.nvcc.ptx ${arg_SOURCE}
        COMMAND ${CMAKE_COMMAND} -DIN=${path}.nvcc.ptx -DOUT=${path}.ptx -DVERSION=${version}
                -P ${WOQ_OPENCL_PTX_SCRIPT}
        COMMAND ${WOQ_NVCC} -ccbin ${CMAKE_C_COMPILER} -cubin -arch=sm_${arg_ARCH} -o ${path}.cubin ${path}.ptx
        DEPENDS ${arg_SOURCE} ${WOQ_OPENCL_PTX_SCRIPT} DEPFILE ${path}.d VERBATIM
        COMMENT "Compiling ${arg_SYMBOL} with nvcc")
    woq_embed(woq_objects ${arg_SYMBOL} ${path}.ptx)
endfunction()
