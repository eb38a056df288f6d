// Checks of the test programs.
#ifndef CHECK_H
#define CHECK_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <tablecast.h>

// Ends the program with an error unless a condition holds.
#define CHECK(condition)                                                                       \
    do {                                                                                       \
        if (!(condition)) {                                                                    \
            fprintf(stderr, "%s:%d: %s; last error: %s\n", __FILE__, __LINE__, #condition,     \
                    tablecast_error_message());                                                \
            exit(1);                                                                           \
        }                                                                                      \
    } while (0)

// Ends the program with an error unless a call fails with an error, and a message that contains a
// text.
#define FAILS(error, text, call)                                 \
    do {                                                         \
        CHECK((call) == (error));                                \
        CHECK(strstr(tablecast_error_message(), text) != NULL);  \
    } while (0)

// A row of the table that the tests publish.
#define FIELDS "instrument:u64,name:text(12),lots:u32,bid:f64"
typedef struct price {
    uint64_t instrument;
    char name[12];
    uint32_t lots;
    double bid;
} price;

// Prints a line, so that the test continues.
static inline void say(const char *line) {
    printf("%s\n", line);
    fflush(stdout);
}

#endif
