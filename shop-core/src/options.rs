//! Setters for structs of options.

/// Adds setters to a struct of options: methods with the names of its fields.
#[doc(hidden)]
#[macro_export]
macro_rules! option_setters {
    ($options:ident { $($field:ident: $type:ty),+ $(,)? }) => {
        impl $options {
            $(
                #[doc = concat!(
                    "The same options with this [`", stringify!($field), "`](#structfield.", stringify!($field), ")."
                )]
                #[must_use]
                pub fn $field(mut self, $field: $type) -> Self {
                    self.$field = $field;
                    self
                }
            )+
        }
    };
}
