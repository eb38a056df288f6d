// Follows a table of prices with the C++ wrapper until the publisher closes it.
//
//     c++ -std=c++17 subscribe.cpp $(pkg-config --cflags --libs tablecast) -o subscribe
//     ./subscribe TABLE
#include <tablecast.hpp>

#include <iostream>
#include <stdexcept>
#include <string>

// The fields of the table as a struct.
struct Price {
    std::uint64_t instrument;
    char name[12];
    std::uint32_t lots;
    double bid;
};
constexpr const char *fields = "instrument:u64,name:text(12),lots:u32,bid:f64";

int main(int count, char **arguments) {
    if (count != 2) {
        std::cerr << "usage: subscribe TABLE\n";
        return 2;
    }
    try {
        const tablecast::Reader<Price> reader(arguments[1], fields);
        if (const auto seven = reader.get(std::uint64_t{7}))
            std::cout << "the bid of 7 is " << seven->bid << std::endl;
        double sum = 0;
        reader.for_each([&](const Price &row) { sum += row.bid; });
        std::cout << "the sum of bids is " << sum << std::endl;

        tablecast::Subscriber<Price> prices(arguments[1], fields);
        for (;;) {
            // At first, these are all rows.
            for (const auto &change : prices.changes()) {
                if (change.operation == TABLECAST_DELETED)
                    std::cout << change.old_row->instrument << " was deleted" << std::endl;
                else
                    std::cout << change.new_row->instrument << ": " << change.new_row->bid
                              << std::endl;
            }
            if (prices.publisher_state() != TABLECAST_PUBLISHER_ALIVE) break;
            prices.wait();
        }
        std::cout << "closed" << std::endl;
    } catch (const std::exception &error) {
        std::cerr << "subscribe: " << error.what() << '\n';
        return 1;
    }
}
