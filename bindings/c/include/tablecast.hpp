// tablecast.hpp: tablecast.h for C++17.
#ifndef TABLECAST_HPP
#define TABLECAST_HPP

#include "tablecast.h"

#endif  // TABLECAST_HPP
