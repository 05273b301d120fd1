# cmake -DSYMBOL=woqi_x "-DFILES=a;b" -DOUT=x.c -P embed.cmake: the files' bytes as C, see woq_embed.cmake.
set(hex "")
set(names "")
foreach(file IN LISTS FILES)
    cmake_path(GET file FILENAME name)
    string(APPEND names " ${name}")
    if(file MATCHES "\\.(cl|inc|h|clh)$")
        string(HEX "#line 1 \"${name}\"\n" line)
        string(APPEND hex ${line})
    endif()
    file(READ ${file} bytes HEX)
    string(APPEND hex "${bytes}")
endforeach()
string(LENGTH "${hex}" size)
math(EXPR size "${size} / 2")
string(REPEAT "[0-9a-f]" 32 row)
string(REGEX REPLACE "(${row})" "\\1\n" hex "${hex}")
string(REGEX REPLACE "([0-9a-f][0-9a-f])" "0x\\1," hex "${hex}")
file(WRITE ${OUT} "/* Generated from${names}. */
#include <stddef.h>

extern const unsigned char ${SYMBOL}[];
extern const size_t ${SYMBOL}_size;

_Alignas(16) const unsigned char ${SYMBOL}[] = {
${hex}0};
const size_t ${SYMBOL}_size = ${size};
")
