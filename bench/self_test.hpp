#pragma once

namespace hubbub::bench {

// Checks the histogram, the frame scanner and the markers; 0 when all hold, else 1 with a line for each that does not.
int self_test();

}  // namespace hubbub::bench
