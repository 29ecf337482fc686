//! Until the host is there.
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;
use surefoot::{Clock, Error, ManualClock, Operation, Part, Policy, TimeSource, Verdict, DropReason};
use surefoot_core::throttler::{Admission, Permit};
use surefoot_core::Throttler;

pub struct Throttled(pub Throttler);

struct Guard<'a>(Option<Permit<&'a Throttler>>, std::time::Duration, surefoot::Timestamp, ManualClock);
impl Drop for Guard<'_> {
    fn drop(&mut self) {
        if let Some(p) = self.0.take() { let held = self.3.now() - self.2; let v = if held < self.1 { Verdict::Ignored } else { DropReason::current().verdict() }; p.settle(v); }
    }
}

impl Policy for Throttled {
    async fn run<O: Operation>(&self, operation: &O) -> Result<O::Value, Error<O::Error>> {
        let clock: ManualClock = match self.0.time() { TimeSource::Manual(c) => c.clone(), _ => unreachable!() };
        let asked = clock.now(); let mut state = None;
        let permit = poll_fn(|cx| {
            if state.is_none() {
                match self.0.enqueue(None, cx.waker()) {
                    Err(e) => return Poll::Ready(Err(e)),
                    Ok(Admission::Admitted(p)) => return Poll::Ready(Ok(p)),
                    Ok(Admission::Queued(w)) => { state = Some((Box::pin(clock.sleep_until(w.leaves_at())), w)); }
                }
            }
            let (sleep, w) = state.as_mut().unwrap();
            let _ = sleep.as_mut().poll(cx);
            w.poll(cx)
        }).await?;
        let mut guard = Guard(Some(permit), clock.now() - asked, clock.now(), clock.clone());
        let result = pin!(operation.attempt()).await;
        let p = guard.0.take().unwrap();
        p.settle(if result.is_ok() { Verdict::Success } else { Verdict::Failure });
        result
    }
    fn parts(&self, _: &mut Vec<Part>) {}
}

pub trait Acquire {
    fn acquire_owned(&self) -> impl Future<Output = Result<Permit, surefoot::Rejection>> + Send;
}
impl Acquire for Throttler {
    fn acquire_owned(&self) -> impl Future<Output = Result<Permit, surefoot::Rejection>> + Send {
        let clock: ManualClock = match self.time() { TimeSource::Manual(c) => c.clone(), _ => unreachable!() };
        let mut state = None;
        poll_fn(move |cx| {
            if state.is_none() {
                match self.clone().enqueue_owned(None, cx.waker()) {
                    Err(e) => return Poll::Ready(Err(e)),
                    Ok(Admission::Admitted(p)) => return Poll::Ready(Ok(p)),
                    Ok(Admission::Queued(w)) => { state = Some((Box::pin(clock.sleep_until(w.leaves_at())), w)); }
                }
            }
            let (sleep, w) = state.as_mut().unwrap();
            let _ = sleep.as_mut().poll(cx);
            w.poll(cx)
        })
    }
}
