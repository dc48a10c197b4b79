// Errors as values, for the tests of every layer: what a piece of code throws, to be looked at.
#pragma once

#include <gtest/gtest.h>

#include <concepts>
#include <string>

#include "base/error.h"

namespace wb {

// Runs `body` and gives the error that it throws; fails the test, naming `what`, when it throws
// none.
template <std::invocable Body>
Error error_of(Body&& body, const std::string& what = "the code under test") {
  try {
    body();
  } catch (const Error& error) {
    return error;
  }
  ADD_FAILURE() << "nothing was thrown by " << what;
  return Error(Code::usage, "nothing was thrown");
}

}  // namespace wb
