// Every function of a subscriber, on a table with instruments 0 to 9, whose bids are their numbers.
#include <poll.h>
#include <pthread.h>

#include "check.h"

static tablecast_subscriber *subscriber;

// Refreshing while rows are visited would invalidate them.
static int add_bid(void *context, const void *row) {
    FAILS(TABLECAST_ERROR_BUSY, "handle in use", tablecast_subscriber_refresh(subscriber));
    const void *other;
    CHECK(tablecast_subscriber_get_text(subscriber, "1", &other) == 1);
    *(double *)context += ((const price *)row)->bid;
    return 0;
}

static int stop_at_once(void *context, const void *row) {
    (void)row;
    return ++*(int *)context;
}

static void *interrupt(void *unused) {
    (void)unused;
    CHECK(tablecast_subscriber_interrupt(subscriber) == 0);
    return NULL;
}

// Refreshes after a wait, and returns the changes, of which there must be `expected`.
static const tablecast_change *changes_after_wait(size_t expected) {
    say("ready");
    CHECK(tablecast_subscriber_wait(subscriber, -1) == 1);
    const tablecast_change *changes;
    size_t count;
    CHECK(tablecast_subscriber_changes(subscriber, &changes, &count) == 0 && count == expected);
    return changes;
}

int main(int count, char **arguments) {
    CHECK(count == 2);
    CHECK(tablecast_subscriber_open_fields(arguments[1], FIELDS, NULL, &subscriber) == 0);
    const tablecast_schema *schema = tablecast_subscriber_schema(subscriber);
    CHECK(tablecast_schema_row_size(schema) == sizeof(price));
    CHECK(tablecast_subscriber_publisher_state(subscriber) == TABLECAST_PUBLISHER_ALIVE);
    uint64_t first, version;
    CHECK(tablecast_subscriber_version(subscriber, &first) == 0 && first > 0);
    size_t rows;
    CHECK(tablecast_subscriber_count(subscriber, &rows) == 0 && rows == 10);

    // The first changes are all rows.
    const tablecast_change *changes, *again;
    CHECK(tablecast_subscriber_changes(subscriber, &changes, &rows) == 0 && rows == 10);
    for (size_t i = 0; i < rows; i++) {
        const price *row = changes[i].new_row;
        CHECK(changes[i].operation == TABLECAST_CREATED && changes[i].old_row == NULL);
        CHECK((double)row->instrument == row->bid && (uintptr_t)row % 8 == 0);
    }
    CHECK(tablecast_subscriber_changes(subscriber, &again, &rows) == 0 && again == changes);

    const void *found;
    uint64_t key = 3;
    CHECK(tablecast_subscriber_get(subscriber, &key, sizeof key, &found) == 1);
    CHECK(((const price *)found)->bid == 3.0);
    key = 10;
    CHECK(tablecast_subscriber_get(subscriber, &key, sizeof key, &found) == 0 && found == NULL);
    CHECK(tablecast_subscriber_get_text(subscriber, "4", &found) == 1);
    CHECK(((const price *)found)->instrument == 4);
    double sum = 0;
    CHECK(tablecast_subscriber_for_each(subscriber, add_bid, &sum) == 0 && sum == 45.0);
    int calls = 0;
    CHECK(tablecast_subscriber_for_each(subscriber, stop_at_once, &calls) == 0 && calls == 1);

    CHECK(tablecast_subscriber_refresh(subscriber) == 0);
    CHECK(tablecast_subscriber_changes(subscriber, &changes, &rows) == 0 && rows == 0);
    CHECK(tablecast_subscriber_wait(subscriber, 1) == 0);
    pthread_t interrupting;
    CHECK(pthread_create(&interrupting, NULL, interrupt, NULL) == 0);
    CHECK(tablecast_subscriber_wait(subscriber, -1) == 0);
    CHECK(pthread_join(interrupting, NULL) == 0);

    // The test commits once for each line.
    changes = changes_after_wait(1);
    const price *old_row = changes->old_row, *new_row = changes->new_row;
    CHECK(changes->operation == TABLECAST_UPDATED);
    CHECK(old_row->bid == 3.0 && new_row->bid == 3.5 && new_row->instrument == 3);
    CHECK(tablecast_subscriber_version(subscriber, &version) == 0 && version > first);
    changes = changes_after_wait(1);
    old_row = changes->old_row;
    CHECK(changes->operation == TABLECAST_DELETED && changes->new_row == NULL);
    CHECK(old_row->bid == 3.5);

    struct pollfd event = {.fd = tablecast_subscriber_fd(subscriber), .events = POLLIN};
    CHECK(event.fd >= 0);
    while (tablecast_subscriber_refresh(subscriber) == 1) {
    }
    say("ready");
    do {
        CHECK(poll(&event, 1, 60000) == 1);
    } while (tablecast_subscriber_refresh(subscriber) == 0);
    CHECK(tablecast_subscriber_get_text(subscriber, "10", &found) == 1);

    // The publisher closes the table, and then another one gives it other fields.
    say("ready");
    while (tablecast_subscriber_publisher_state(subscriber) != TABLECAST_PUBLISHER_CLOSED)
        CHECK(tablecast_subscriber_wait(subscriber, -1) == 1);
    say("ready");
    int result;
    do {
        result = tablecast_subscriber_wait(subscriber, 60000);
    } while (result == 1);
    FAILS(TABLECAST_ERROR_SCHEMA_MISMATCH, "schema mismatch: table", result);
    CHECK(tablecast_subscriber_get_text(subscriber, "10", &found) == 1);
    CHECK(((const price *)found)->bid == 10.0);
    tablecast_subscriber_close(&subscriber);
    CHECK(subscriber == NULL);
    say("done");
    return 0;
}
