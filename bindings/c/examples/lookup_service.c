// Answers lookups over a Unix socket: one key in text form on each line, one row as the answer.
// Each connection has a thread, and all threads share one reader.
//
//     cc -pthread lookup_service.c $(pkg-config --cflags --libs tablecast) -o lookup_service
//     ./lookup_service TABLE SOCKET
//     echo 7 | nc -U SOCKET
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "print_row.h"

static tablecast_reader *reader;

static void *serve(void *connection) {
    const tablecast_schema *schema = tablecast_reader_schema(reader);
    const size_t row_size = tablecast_schema_row_size(schema);
    void *row = malloc(row_size);
    FILE *input = fdopen((int)(intptr_t)connection, "r");
    FILE *output = fdopen(dup((int)(intptr_t)connection), "w");
    char line[1024];
    while (row != NULL && input != NULL && output != NULL &&
           fgets(line, sizeof line, input) != NULL) {
        line[strcspn(line, "\n")] = '\0';
        int found = tablecast_reader_get_text(reader, line, row, row_size);
        if (found < 0)
            fprintf(output, "error: %s\n", tablecast_error_message());
        else if (found == 0)
            fprintf(output, "not found\n");
        else
            print_row(output, schema, row);
        if (fflush(output) != 0) break;
    }
    if (input != NULL) fclose(input);
    if (output != NULL) fclose(output);
    free(row);
    return NULL;
}

int main(int count, char **arguments) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (count != 3 || strlen(arguments[2]) >= sizeof address.sun_path) {
        fprintf(stderr, "usage: lookup_service TABLE SOCKET\n");
        return 2;
    }
    // A client that leaves early must not end the service.
    signal(SIGPIPE, SIG_IGN);
    if (tablecast_reader_open(arguments[1], &reader) < 0) {
        fprintf(stderr, "lookup_service: %s\n", tablecast_error_message());
        return 1;
    }
    strcpy(address.sun_path, arguments[2]);
    int listener = socket(AF_UNIX, SOCK_STREAM, 0);
    if (bind(listener, (const struct sockaddr *)&address, sizeof address) < 0 ||
        listen(listener, 16) < 0) {
        perror("lookup_service");
        return 1;
    }
    printf("ready\n");
    fflush(stdout);
    for (;;) {
        int connection = accept(listener, NULL, NULL);
        pthread_t thread;
        if (connection < 0) continue;
        if (pthread_create(&thread, NULL, serve, (void *)(intptr_t)connection) == 0)
            pthread_detach(thread);
        else
            close(connection);
    }
}
