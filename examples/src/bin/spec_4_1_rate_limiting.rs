//! Section 4.1: rate limiting.
//!
//! ```python
//! limiter = RateLimiter(
//!     max_requests=100,     # Max requests
//!     time_window=60        # Per 60 seconds
//! )
//!
//! @limiter.limit
//! async def api_endpoint(request):
//!     return await process_request(request)
//!
//! if limiter.is_allowed(user_id):
//!     await process_request()
//! else:
//!     raise TooManyRequestsError()
//! ```

use std::io;
use std::time::Duration;

use surefoot::prelude::*;
use surefoot::{Clock, ManualClock, Rejection};
use surefoot_examples::in_virtual_time;

async fn process_request(request: u32) -> io::Result<u32> {
    tokio::task::yield_now().await;
    Ok(request + 1)
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let clock = ManualClock::new(); // leave the clock out to use the system's
    let limiter = RateLimiter::builder("api")
        .max_requests(100)
        .time_window(Duration::from_secs(60))
        .max_wait(Duration::ZERO) // too many requests are refused; leave it out, and they wait
        .clock(&clock)
        .build()?;

    // A function of which each call takes a slot.
    let api_endpoint = limiter.limit(process_request);
    for request in 0..100 {
        assert_eq!(api_endpoint.call(request).await?, request + 1);
    }
    assert_eq!(limiter.current_rate(), 100);
    clock.advance(Duration::from_secs(45));
    let Err(Error::Rejected(too_many_requests)) = api_endpoint.call(100).await else {
        panic!("there were a hundred within the minute")
    };
    println!("{too_many_requests}");
    assert_eq!(too_many_requests.retry_after(), Some(Duration::from_secs(15)));

    // Obeying that is enough, and a moment less is not.
    clock.advance(Duration::from_nanos(14_999_999_999));
    assert!(!limiter.is_allowed());
    clock.advance(Duration::from_nanos(1));
    assert!(limiter.is_allowed());
    assert_eq!(limiter.current_rate(), 1);

    // A limit for each user, in bounded memory.
    let users: KeyedRateLimiter<String> = RateLimiter::builder("users")
        .max_requests(2)
        .time_window(Duration::from_secs(60))
        .clock(&clock)
        .build_keyed()?;
    for (user_id, allowed) in [("ann", true), ("ann", true), ("ann", false), ("bob", true)] {
        assert_eq!(users.is_allowed(user_id), allowed, "{user_id}");
        if allowed {
            process_request(1).await?;
        } else {
            let refused = users.check(user_id).expect_err("TooManyRequestsError");
            assert!(matches!(refused, Rejection::RateLimited { .. }));
        }
    }
    assert_eq!((users.current_rate("ann"), users.current_rate("bob")), (2, 1));

    // The same user as a policy, whose calls wait for their slot.
    let ann = users.key("ann");
    let start = clock.now();
    in_virtual_time(&clock, ann.call(|| process_request(1))).await?;
    assert_eq!(clock.now() - start, Duration::from_secs(60));
    println!("ann had to wait for a minute");
    Ok(())
}
