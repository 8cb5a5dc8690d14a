/* What tests can ask of the fake CUDA driver, beside the driver API itself.
 *
 * The fake is a library named libcuda.so.1 that programs find through LD_LIBRARY_PATH. Its devices
 * have no time: work is done when it is submitted, on host memory that stands for device memory, and
 * vector clocks tell which work is ordered before which. A missing edge is a race in every run.
 *
 * The host is one clock for all its threads: that they hand things over properly is ThreadSanitizer's
 * matter. Work that is captured does not run: it races with work of its own graph and no other.
 *
 * Environment: FAKE_CUDA_DEVICES (2), FAKE_CUDA_DRIVER_VERSION (13000: later entries do not exist),
 * FAKE_CUDA_INIT (a CUresult that cuInit answers), FAKE_CUDA_PEERS=0 (no peer access).
 */
#pragma once

#include <cuda.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- the model -------------------------------------------------------------------------------- */

/* Forgets everything: contexts, streams, events, memory, clocks, races, counts, injected failures.
 * What a product keeps from one call to the next (its context, its stream, its pool of events) is
 * gone with it, so this is for the start of a process. */
void fake_cuda_reset(void);

/* Between two programs of one process: the devices run until they are idle, the host has waited for
 * all of it, and nobody remembers who touched which memory. What is alive stays alive; findings,
 * counts and injected failures stay as they are. */
void fake_cuda_settle(void);

typedef struct {
  const void* data;
  size_t bytes;
  int writes; /* 0 reads, 1 writes */
} fake_cuda_access;

/* A kernel on a stream of a device (1 legacy, 2 per-thread of the calling thread, or a handle) that
 * touches these ranges. Default streams are those of the current context, if it is of the device,
 * else of the primary one. The caller changes the bytes itself, before or after. */
CUresult fake_cuda_work(int device, CUstream stream, const fake_cuda_access* accesses, int count);

/* The host reads or writes a range now: a race with device work that the host has not waited for. */
void fake_cuda_host_access(const void* data, size_t bytes, int writes);

/* What a caching allocator does when it hands a freed block out again: fills it with 0xCD on the
 * stream it hands it out on. A race with every use that is not ordered before. */
CUresult fake_cuda_reuse(int device, CUstream stream, void* data, size_t bytes);

/* A stream that some framework made on a device (flags of cuStreamCreate), in the current context if
 * that is of the device, else in the primary one. No call is counted. The framework's context is active from then on, as it is after
 * fake_cuda_work. NULL without the device. cuStreamDestroy destroys it. */
CUstream fake_cuda_stream(int device, unsigned flags);

/* A green context of a device, with default streams of its own, as cuCtxFromGreenCtx gives it. It
 * lives to the next reset. That two threads have it current at once is a finding. */
CUcontext fake_cuda_green_context(int device);

/* Memory of the test (of NumPy, of malloc) stands for a framework's device memory until it is
 * disowned. Without this, addresses that the driver did not hand out are pageable host memory to
 * copies and pointer queries. Disowning asks nothing: the framework's allocator keeps the block. */
CUresult fake_cuda_adopt(int device, const void* data, size_t bytes);
void fake_cuda_disown(const void* data);

/* The device gets on with its work: what was submitted so far has run (queries say so). Without it,
 * work only counts as done once the host waited for it. */
void fake_cuda_run(int device);
/* From now on work has always run as soon as somebody asks. */
void fake_cuda_set_idle(int always_idle);
/* While on, a call that blocks the host (see fake_cuda_host_waits) or loads a kernel does not return:
 * it takes some time, as on a device. For at most ten seconds. */
void fake_cuda_hold(int on);
/* How many threads are inside such a call. */
int fake_cuda_held(void);

/* ---- findings --------------------------------------------------------------------------------- */

/* Races, uses after free and beyond the end, and driver calls that are undefined behaviour: dead
 * handles, streams of other contexts' devices, the NULL stream (whose meaning depends on how the
 * caller was compiled). */
int fake_cuda_races(void);
/* One finding in words: for a race both accesses, streams, byte range. NULL beyond the last. Valid
 * until the next call of this function on the thread. */
const char* fake_cuda_race(int index);
void fake_cuda_clear_races(void);

/* Calls of a driver function ("cuEventRecord", never "_v2"; NULL: all) since the last reset of the
 * counts. -1 when there is no such function. */
long fake_cuda_calls(const char* function);
void fake_cuda_reset_calls(void);
/* The names of all calls since then, separated by blanks; valid until the next call. */
const char* fake_cuda_call_log(void);
/* How often the host blocked for a stream, an event, a context, a free or a copy from host to
 * host since the last reset of the counts. */
long fake_cuda_host_waits(void);
/* While on, calls of this thread are not the product's: not counted, logged, failed or ignored. */
void fake_cuda_set_quiet(int on);

/* What is alive: "events", "streams" (made by calls), "device", "host", "managed" allocations,
 * "pooled" blocks that pools hold, in use or free, "contexts" that are active; or "captures" that were invalidated since the last reset. -1 for any
 * other word. */
long fake_cuda_live(const char* what);

/* ---- trouble ---------------------------------------------------------------------------------- */

/* The nth next call (1 = the next; 0 = every one) of `function` fails with `code` and does nothing.
 * Sticky: from then on every call of the device fails with it. */
void fake_cuda_fail(const char* function, int nth, CUresult code, int sticky);
/* The nth next call (0 = every one) of `function` does nothing and answers CUDA_SUCCESS; a query of
 * capture states answers that nothing captures. */
void fake_cuda_ignore(const char* function, int nth);
/* How many of the calls named by fake_cuda_ignore were ignored so far. */
long fake_cuda_ignored(void);
/* Takes back fail and ignore; devices with a sticky error are well again. */
void fake_cuda_heal(void);

#ifdef __cplusplus
}
#endif
