#include "hubbub/base/log.hpp"

namespace hubbub::base {
namespace {
thread_local int shard_of_this_thread = -1;
}  // namespace

void set_thread_shard(int shard) noexcept { shard_of_this_thread = shard; }
int thread_shard() noexcept { return shard_of_this_thread; }

}  // namespace hubbub::base
