//! Section 4.3: shedding the least important calls under load.
//!
//! ```python
//! shedder = LoadShedder(
//!     max_load=0.8,            # Shed at 80% capacity
//!     priority_levels=3        # Support 3 priority levels
//! )
//!
//! # Shed low priority requests under load
//! if shedder.should_shed(priority=1):  # Low priority
//!     raise ServiceUnavailableError("System overloaded")
//!
//! await process_request(request)
//! ```

use std::convert::Infallible;

use surefoot::prelude::*;
use surefoot::{Rejection, SystemLoad};

#[derive(Debug, PartialEq)]
struct ServiceUnavailable(&'static str);

async fn process_request(request: &str) -> Result<String, Infallible> {
    tokio::task::yield_now().await; // as if it took a while
    Ok(format!("{request}: done"))
}

async fn handle(shedder: &LoadShedder, request: &str) -> Result<String, ServiceUnavailable> {
    // Shed low priority requests under load
    if shedder.should_shed(1) {
        return Err(ServiceUnavailable("System overloaded"));
    }
    Ok(process_request(request).await.unwrap_or_else(|never| match never {}))
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    // By the calls that are under way: each has a permit, and twenty of them are full load.
    let shedder = LoadShedder::builder("api")
        .max_load(0.8) // Shed at 80% capacity
        .priority_levels(3) // Support 3 priority levels
        .capacity(20)
        .build()?;
    assert_eq!(handle(&shedder, "report").await.as_deref(), Ok("report: done"));

    let under_way: Vec<_> = (0..16).map(|_| shedder.admit(3)).collect::<Result<_, _>>()?;
    assert_eq!(handle(&shedder, "report").await, Err(ServiceUnavailable("System overloaded")));
    assert!(!shedder.should_shed(2), "the middle is shed from 90 %");

    // The same as a policy: it counts the call while it runs, and says why if it does not.
    let [low, high] = [shedder.priority(1)?, shedder.priority(3)?];
    assert_eq!(high.call(|| process_request("payment")).await?, "payment: done");
    let error = low.call(|| process_request("report")).await.expect_err("80 % are reached");
    println!("{error}");
    assert!(matches!(error, Error::Rejected(Rejection::Shed { priority: 1, .. })));
    assert!(error.is_undispatched(), "safe to try elsewhere");

    drop(under_way);
    assert_eq!(low.call(|| process_request("report")).await?, "report: done");
    assert!(shedder.priority(0).is_err(), "1 is the lowest");

    // By the CPU and the memory that this process may use, which a thread looks at from now on.
    let by_system = LoadShedder::builder("system")
        .max_load(0.8)
        .priority_levels(3)
        .load_source(SystemLoad::shared())
        .dry_run(true) // first see what it would do
        .build()?;
    assert!(handle(&by_system, "report").await.is_ok());
    println!("{:?}", by_system.status().signals);
    Ok(())
}
