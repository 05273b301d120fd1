# Fails unless README holds SOURCE, whole and unchanged, as a block of C.
file(READ "${README}" readme)
file(READ "${SOURCE}" source)
string(FIND "${readme}" "```c\n${source}```" at)
if(at EQUAL -1)
    message(FATAL_ERROR "${README} does not hold ${SOURCE} line for line in a ```c block; copy it there again")
endif()
