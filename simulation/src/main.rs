//! Prints what the simulations show: `cargo run --release -p surefoot-simulation [-- PART…]`, where
//! a part is `limits`, the adaptive limit beside the published ones, or the number of a scenario.
//! Without any, all of it.

use surefoot_simulation::{comparison, scenarios};

fn main() {
    let parts: Vec<String> = std::env::args().skip(1).collect();
    let is_asked_for = |part: &str| parts.is_empty() || parts.iter().any(|asked| asked == part);
    for scenario in scenarios::ALL {
        if is_asked_for(&scenario.number.to_string()) {
            println!("{}", scenarios::table(scenario, &(scenario.run)()));
        }
    }
    if is_asked_for("limits") {
        print!("{}", comparison::table());
    }
}
