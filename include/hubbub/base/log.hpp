#pragma once

namespace hubbub::base {

/// Every log line written from the calling thread from now on names this shard; -1 (the default) names none. [any
/// thread]
void set_thread_shard(int shard) noexcept;
int thread_shard() noexcept;

}  // namespace hubbub::base
