// Follows a table in a loop around poll(), next to another descriptor: prints each change, and the
// state of the publisher, until stdin ends.
//
//     cc poll_loop.c $(pkg-config --cflags --libs tablecast) -o poll_loop
//     ./poll_loop TABLE
#include <poll.h>
#include <stdlib.h>
#include <unistd.h>

#include "print_row.h"

static int check(int result) {
    if (result < 0) {
        fprintf(stderr, "poll_loop: %s\n", tablecast_error_message());
        exit(1);
    }
    return result;
}

static void print_changes(const tablecast_subscriber *table) {
    static const char *const operations[] = {"", "created", "updated", "deleted"};
    const tablecast_change *changes;
    size_t count;
    check(tablecast_subscriber_changes(table, &changes, &count));
    for (size_t i = 0; i < count; i++) {
        const tablecast_change *change = &changes[i];
        printf("%s ", operations[change->operation]);
        print_row(stdout, tablecast_subscriber_schema(table),
                  change->new_row != NULL ? change->new_row : change->old_row);
    }
}

int main(int count, char **arguments) {
    if (count != 2) {
        fprintf(stderr, "usage: poll_loop TABLE\n");
        return 2;
    }
    tablecast_subscriber *table = NULL;
    check(tablecast_subscriber_open(arguments[1], &table));
    struct pollfd events[] = {
        {.fd = check(tablecast_subscriber_fd(table)), .events = POLLIN},
        {.fd = STDIN_FILENO, .events = POLLIN},
    };
    int state = check(tablecast_subscriber_publisher_state(table));
    print_changes(table);
    fflush(stdout);
    while (poll(events, 2, -1) > 0) {
        // Refresh after each event: the descriptor stays readable until there is no news.
        if (events[0].revents != 0 && check(tablecast_subscriber_refresh(table)) == 1) {
            print_changes(table);
            int now = check(tablecast_subscriber_publisher_state(table));
            if (now != state) {
                printf("publisher %s\n", now == TABLECAST_PUBLISHER_ALIVE  ? "alive"
                                         : now == TABLECAST_PUBLISHER_GONE ? "gone"
                                                                           : "closed");
                state = now;
            }
            fflush(stdout);
        }
        char buffer[256];
        if (events[1].revents != 0 && read(STDIN_FILENO, buffer, sizeof buffer) <= 0) break;
    }
    tablecast_subscriber_close(&table);
    return 0;
}
