// Nothing: CMake keeps precompiled headers with a target, and a target has a source.
