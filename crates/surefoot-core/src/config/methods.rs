//! What the options of all policies have in common, in the words of all of them: to be used inside an
//! `impl`.

/// For config structs, which have a `POLICY` and a `validate`.
macro_rules! reads_toml {
    () => {
        /// Reads the options from TOML. Unknown options are errors.
        ///
        /// # Errors
        /// Names the first option that cannot be read or breaks its rule, and where it stands. An option
        /// that is missing is asked for by `build`.
        #[cfg(feature = "toml")]
        pub fn from_toml(text: &str) -> Result<Self, $crate::ConfigError> {
            $crate::config::from_toml(Self::POLICY, text, Self::validate)
        }
    };
}

/// For builders with a field `clock`.
macro_rules! takes_clock {
    () => {
        /// The clock to decide by. Default: the system's.
        pub fn clock(mut self, clock: impl Into<$crate::TimeSource>) -> Self {
            self.clock = clock.into();
            self
        }
    };
}

/// For builders with a field `events`.
macro_rules! takes_listeners {
    () => {
        /// Calls `listener` for every event; see [`Events`](crate::Events) for what it may do.
        pub fn on_event(self, listener: impl Fn(&$crate::Event) + Send + Sync + 'static) -> Self {
            self.events.subscribe(listener).forever();
            self
        }
    };
}

/// The same.
macro_rules! takes_events {
    () => {
        /// Sends its events to listeners shared with other policies.
        pub fn events(mut self, events: $crate::Events) -> Self {
            self.events = events;
            self
        }
    };
}

pub(crate) use {reads_toml, takes_clock, takes_events, takes_listeners};
