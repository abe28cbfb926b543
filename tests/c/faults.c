/* A host with one fault, named by the argument: the tools that look for faults must find it. */
#include <pam_pps.h>

#include <stdlib.h>
#include <string.h>

int main(int argc, char **argv) {
    const char *fault = argc > 1 ? argv[1] : "none";
    pam_pps_text *text = NULL;
    pam_pps_config *config = pam_pps_config_new();
    int code = 0;
    pam_pps_config_set(config, (const uint8_t *)"colour", 6, (const uint8_t *)"red", 3, &text);
    pam_pps_slice slice = pam_pps_text_slice(text);
    if (strcmp(fault, "leak") != 0) {
        pam_pps_text_free(text);
    }
    if (strcmp(fault, "use") == 0) {
        code = slice.data[0] == 'x';
    }
    if (strcmp(fault, "twice") == 0) {
        /* Not through the library: what it does with freed memory is not defined. */
        void *block = malloc(slice.len + 1);
        void *volatile again = block;
        free(block);
        free(again);
    }
    text = NULL;
    slice = (pam_pps_slice){NULL, 0};
    pam_pps_config_free(config);
    return code;
}
