// The streams of the device, which are as far behind as they may be: what is enqueued runs on the
// device's own thread once somebody waits for it, and then no more than must have run by then. So
// whoever forgets to wait, on the host or between two streams, finds what was there before, and
// finds it every time.
#pragma once

#include <c10/core/Stream.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

namespace fake {

constexpr int kDevices = 2;

/// How much was enqueued on a stream up to a moment.
using Ticket = uint64_t;
using Task = std::function<void()>;

/// Per thread, as on any device.
int current_device();
void set_current_device(int device);
c10::Stream current_stream(int device);
void set_current_stream(c10::Stream stream);
c10::Stream default_stream(int device);
/// One of a few, in turn.
c10::Stream pooled_stream(int device);

/// Runs after everything that the stream was given before. Where the stream is being recorded,
/// `task` becomes a part of the recording and does not run.
void enqueue(c10::Stream stream, Task task);
/// What the stream is given from now on runs after `other` has come to `ticket`.
void enqueue_wait(c10::Stream stream, c10::Stream other, Ticket ticket);

Ticket issued(c10::Stream stream);
bool is_done(c10::Stream stream, Ticket ticket);
/// Waits until the stream has come to `ticket`; throws what a task threw that no one has been told
/// of. Not counted: whoever makes the host wait counts.
void finish(c10::Stream stream, Ticket ticket);
void finish(c10::Stream stream);
void finish_device(int device);

/// Between the two, what the stream is given is recorded; it cannot be waited for meanwhile.
void begin_recording(c10::Stream stream);
std::vector<Task> end_recording(c10::Stream stream);
bool is_recording(c10::Stream stream);

}  // namespace fake
