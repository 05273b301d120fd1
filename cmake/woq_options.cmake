# woq_internal: what the library's own sources and its tests are compiled with.

set(CMAKE_C_STANDARD 11)
set(CMAKE_C_STANDARD_REQUIRED ON)
set(CMAKE_C_EXTENSIONS OFF)

add_library(woq_internal INTERFACE)
target_include_directories(woq_internal INTERFACE
    ${PROJECT_SOURCE_DIR}/include ${PROJECT_SOURCE_DIR}/src ${PROJECT_SOURCE_DIR}/shaders)
target_compile_definitions(woq_internal INTERFACE _POSIX_C_SOURCE=200809L)

# Warnings, and arithmetic that does not depend on whether the CPU has a fused multiply-add. For everything in this
# tree, nothing of it reaches users of the library.
add_library(woq_warnings INTERFACE)
target_compile_options(woq_warnings INTERFACE
    -ffp-contract=off -Wall -Wextra -Wpedantic -Wvla
    "$<$<COMPILE_LANGUAGE:C>:-Wshadow;-Wstrict-prototypes;-Wmissing-prototypes>"
    $<$<BOOL:${WOQ_WERROR}>:-Werror>)
target_link_libraries(woq_internal INTERFACE woq_warnings)

if(WOQ_SANITIZE)
    add_compile_options(-fsanitize=${WOQ_SANITIZE} -fno-omit-frame-pointer -fno-sanitize-recover=all)
    add_link_options(-fsanitize=${WOQ_SANITIZE})
endif()
