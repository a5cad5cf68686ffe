#pragma once

#include <boost/system/error_code.hpp>
#include <boost/system/result.hpp>

namespace hubbub::base {

/// A value or a boost::system::error_code. Operational failures travel in it; exceptions are only for what must stop
/// the start.
template <class T>
using Result = boost::system::result<T>;

using boost::system::error_code;

}  // namespace hubbub::base
