//! Section 7.1: compartments that cannot use up what another needs.
//!
//! ```python
//! bulkhead = Bulkhead(
//!     compartments={
//!         "critical": {"max_concurrent": 10, "queue_size": 20},
//!         "normal": {"max_concurrent": 5, "queue_size": 10},
//!         "background": {"max_concurrent": 2, "queue_size": 5}
//!     }
//! )
//!
//! async with bulkhead.acquire("critical"):
//!     await critical_operation()
//! ```

use surefoot::Rejection;
use surefoot::prelude::*;

async fn critical_operation() -> Result<&'static str, std::io::Error> {
    Ok("done")
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let bulkhead = Bulkhead::builder("agents")
        .compartment("critical", 10, 20)
        .compartment("normal", 5, 10)
        .compartment("background", 2, 5)
        .build()?;

    // Background work fills its compartment …
    let mut busy = Vec::new();
    while let Ok(permit) = bulkhead.try_acquire("background") {
        busy.push(permit);
    }
    assert_eq!(busy.len(), 2);

    // … and the critical operation notices nothing.
    let permit = bulkhead.acquire("critical").await?;
    assert_eq!(critical_operation().await?, "done");
    drop(permit);

    // A compartment is a policy too.
    let critical = bulkhead.compartment("critical")?;
    assert_eq!(critical.call(critical_operation).await?, "done");

    let unknown = bulkhead.acquire("urgent").await.err().ok_or("there is no such compartment")?;
    assert!(matches!(unknown, Rejection::UnknownCompartment { .. }));
    println!("{unknown}");
    Ok(())
}
