#pragma once

#include <cstdint>

namespace hubbub::runtime {

/// How many bytes the peer of a TCP socket has acknowledged since it was connected; 0 when it owes none, so that what
/// an idle peer's kernel acknowledges by itself does not count as progress.
std::uint64_t acknowledged_while_sending(int fd);

}  // namespace hubbub::runtime
