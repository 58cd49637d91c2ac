//! Threads that wait for work, and how they get it.

use std::hint::spin_loop;
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

/// How long a thread without work waits busily: the layers of a call, and calls in a loop, follow
/// each other within this time, and waking a thread takes as long. Then it sleeps.
const PATIENCE: Duration = Duration::from_micros(50);

/// Busy turns between two looks at the clock.
const TURNS: usize = 32;

/// Work for some threads. Lives on the stack of the caller, who waits until `left` is zero.
struct Job<'a> {
    /// What to do, given the number of the part.
    work: &'a (dyn Fn(usize) + Sync),
    /// How many threads have yet to finish.
    left: AtomicUsize,
    caller: Thread,
}

/// Where a thread finds its next job.
type Slot = Arc<AtomicPtr<Job<'static>>>;

struct Worker {
    slot: Slot,
    thread: Thread,
}

/// The threads of one process.
struct Workers {
    process: u32,
    /// Whether a call has them; another one computes alone then.
    taken: AtomicBool,
    threads: Mutex<Vec<Worker>>,
}

/// The threads of this process, or of its parent after a fork: threads stay behind then.
static WORKERS: AtomicPtr<Workers> = AtomicPtr::new(ptr::null_mut());

/// All threads of the process, on loan to one call.
pub struct Loan {
    workers: &'static Workers,
    count: usize,
}

impl Loan {
    /// Borrows up to so many threads. Nothing when another call has them, or none can be made.
    pub fn take(wanted: usize) -> Option<Self> {
        let workers = of_this_process();
        if workers.taken.swap(true, Ordering::Acquire) {
            return None;
        }
        let mut loan = Self { workers, count: 0 };
        let mut threads = workers
            .threads
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        while threads.len() < wanted {
            match start(threads.len() + 1) {
                Some(worker) => threads.push(worker),
                None => break,
            }
        }
        loan.count = threads.len().min(wanted);
        drop(threads);
        (loan.count > 0).then_some(loan)
    }

    /// How many threads there are.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Calls `work` with 1 to [`Loan::count`] on the threads, and with 0 here. It must not panic.
    pub fn run(&self, work: &(dyn Fn(usize) + Sync)) {
        let job = Job {
            work,
            left: AtomicUsize::new(self.count),
            caller: thread::current(),
        };
        let pointer = ptr::from_ref(&job).cast::<Job<'static>>().cast_mut();
        {
            let threads = self.workers.threads.lock();
            let threads = threads.unwrap_or_else(PoisonError::into_inner);
            for worker in &threads[..self.count] {
                worker.slot.store(pointer, Ordering::Release);
                worker.thread.unpark();
            }
        }
        work(0);
        // The job must not go before the threads have let go of it.
        wait(|| job.left.load(Ordering::Acquire) == 0);
    }
}

impl Drop for Loan {
    fn drop(&mut self) {
        self.workers.taken.store(false, Ordering::Release);
    }
}

/// The workers of this process, made when first needed.
fn of_this_process() -> &'static Workers {
    let process = std::process::id();
    let current = WORKERS.load(Ordering::Acquire);
    // SAFETY: what was stored there is never freed.
    if let Some(workers) = unsafe { current.as_ref() }
        && workers.process == process
    {
        return workers;
    }
    let new = Box::leak(Box::new(Workers {
        process,
        taken: AtomicBool::new(false),
        threads: Mutex::new(Vec::new()),
    }));
    match WORKERS.compare_exchange(current, new, Ordering::AcqRel, Ordering::Acquire) {
        Ok(_) => new,
        // Another thread was faster.
        // SAFETY: as above; what was stored after a fork is of this process, and never null.
        Err(theirs) => unsafe { &*theirs },
    }
}

/// Starts a thread that waits for jobs as long as the process lives.
fn start(number: usize) -> Option<Worker> {
    let slot = Slot::default();
    let mine = Arc::clone(&slot);
    let handle = thread::Builder::new()
        .name(format!("recurrust-{number}"))
        .spawn(move || serve(&mine, number))
        .ok()?;
    Some(Worker {
        slot,
        thread: handle.thread().clone(),
    })
}

fn serve(slot: &Slot, number: usize) -> ! {
    loop {
        let mut job = ptr::null_mut();
        wait(|| {
            job = slot.swap(ptr::null_mut(), Ordering::Acquire);
            !job.is_null()
        });
        // SAFETY: the caller keeps the job until `left` is zero, which this thread helps to.
        let job = unsafe { &*job };
        (job.work)(number);
        let caller = job.caller.clone();
        // From here on the job may be gone.
        job.left.fetch_sub(1, Ordering::Release);
        caller.unpark();
    }
}

/// Waits until something has happened whose maker wakes this thread: busily for a while, then
/// asleep.
fn wait(mut happened: impl FnMut() -> bool) {
    let start = Instant::now();
    loop {
        for _ in 0..TURNS {
            if happened() {
                return;
            }
            spin_loop();
        }
        if start.elapsed() > PATIENCE {
            thread::park();
        }
    }
}
