#include <stdio.h>
#include <woq/base.h>

int main(void)
{
    return printf("%s\n", woq_version_string()) < 0;
}
