// Every function of the C++ wrapper, on a table with instruments 0 to 9.
#include <tablecast.hpp>

#include <thread>

#include "check.h"

using Prices = tablecast::Reader<price>;
using namespace std::chrono_literals;

// Returns the number of the error that a function throws.
template <class Function>
static int code_of(Function function) {
    try {
        function();
    } catch (const tablecast::Error &error) {
        CHECK(strlen(error.what()) > 0);
        return error.code();
    }
    return 0;
}

static void check_reader(const char *name) {
    CHECK(code_of([&] { Prices("no-such-table", FIELDS); }) == TABLECAST_ERROR_NOT_FOUND);
    CHECK(code_of([&] { Prices(name, "id:u64"); }) == TABLECAST_ERROR_SCHEMA_MISMATCH);
    bool refused = false;
    try {
        tablecast::Reader<std::uint64_t> wrong_struct(name, FIELDS);
    } catch (const std::invalid_argument &) {
        refused = true;
    }
    CHECK(refused);

    Prices moved(name, FIELDS, "instrument");
    Prices reader = std::move(moved);
    CHECK(reader.size() == 10 && reader.version() > 0);
    CHECK(reader.publisher_state() == TABLECAST_PUBLISHER_ALIVE);
    CHECK(reader.get(std::uint64_t{3})->bid == 3.0 && !reader.get(std::uint64_t{10}));
    CHECK(reader.get_text("4")->instrument == 4 && !reader.get_text("10"));
    CHECK(code_of([&] { reader.get(std::uint32_t{3}); }) == TABLECAST_ERROR_WRONG_LENGTH);
    const auto many = reader.get_many(std::vector<std::uint64_t>{8, 77});
    CHECK(many[0]->bid == 8.0 && !many[1]);
    double sum = 0;
    CHECK(reader.for_each([&](const price &row) { sum += row.bid; }) == reader.version());
    CHECK(sum == 45.0);
    int calls = 0;
    try {
        reader.for_each([&](const price &) { throw ++calls; });
        CHECK(false);
    } catch (int thrown) {
        CHECK(thrown == 1 && calls == 1);
    }
    tablecast::Snapshot<price> snapshot;
    CHECK(snapshot.size() == 0);
    for (int turn = 0; turn < 2; turn++) {
        reader.snapshot(snapshot);
        CHECK(snapshot.size() == 10 && snapshot.version() == reader.version());
        sum = 0;
        for (std::size_t i = 0; i < snapshot.size(); i++) sum += snapshot[i].bid;
        CHECK(sum == 45.0);
    }
    CHECK(!reader.refresh() && !reader.wait(1ms) && reader.fd() >= 0);
    std::thread interrupting([&] { reader.interrupt(); });
    CHECK(!reader.wait());
    interrupting.join();
}

int main(int count, char **arguments) {
    CHECK(count == 2);
    check_reader(arguments[1]);
    tablecast::Subscriber<price> subscriber(arguments[1], FIELDS);
    CHECK(subscriber.size() == 10 && subscriber.changes().size() == 10);
    CHECK(subscriber.get(std::uint64_t{3})->bid == 3.0 && !subscriber.get(std::uint64_t{10}));
    CHECK(subscriber.get_text("4")->bid == 4.0 && subscriber.version() > 0);
    double sum = 0;
    subscriber.for_each([&](const price &row) { sum += row.bid; });
    CHECK(sum == 45.0 && subscriber.fd() >= 0);
    CHECK(!subscriber.refresh() && !subscriber.wait(1ms));
    subscriber.interrupt();
    CHECK(!subscriber.wait());
    say("ready");
    while (subscriber.publisher_state() != TABLECAST_PUBLISHER_CLOSED) CHECK(subscriber.wait());
    return 0;
}
