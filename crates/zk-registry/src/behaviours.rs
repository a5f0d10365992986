//! A table of behaviours: what one asks of any world, and one unit test each of the world in memory.

/// Makes the table `ALL` and the module `in_memory` of unit tests from the names of functions, by the module in which they stand.
/// Each function is async, gets a world and panics.
macro_rules! behaviours {
    (
        $(#[$attribute:meta])*
        $visibility:vis const ALL: &[$behaviour:ty], in memory: $memory:expr;
        $($module:ident: $($name:ident)*;)*
    ) => {
        $(#[$attribute])*
        $visibility const ALL: &[$behaviour] =
            &[$($((stringify!($name), |world| Box::pin($module::$name(world))),)*)*];

        #[cfg(test)]
        mod in_memory {
            $($(
                #[tokio::test(start_paused = true)]
                async fn $name() {
                    super::$module::$name(&$memory).await;
                }
            )*)*
        }
    };
}

pub(crate) use behaviours;
