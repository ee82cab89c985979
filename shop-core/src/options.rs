//! Structs of options.

/// Defines a struct of options: its fields with their defaults, `Default`, and a setter with the name of each field.
///
/// With `pub fn new(…);` after the struct, this constructor replaces `Default`. Its arguments can be used in the values
/// of the fields.
///
/// ```
/// shop_core::options! {
///     /// Options of a cache.
///     #[derive(Debug, Clone)]
///     pub struct CacheOptions {
///         /// The maximum number of entries (default 100).
///         pub entries: usize = 100,
///     }
/// }
///
/// assert_eq!(CacheOptions::default().entries(7).entries, 7);
/// ```
#[doc(hidden)]
#[macro_export]
macro_rules! options {
    (
        $(#[$meta:meta])*
        pub struct $options:ident {
            $($(#[$field_meta:meta])* pub $field:ident: $type:ty = $default:expr,)+
        }
        $($(#[$new_meta:meta])* pub fn new($($argument:ident: $argument_type:ty),+);)?
    ) => {
        $(#[$meta])*
        #[non_exhaustive]
        pub struct $options {
            $($(#[$field_meta])* pub $field: $type,)+
        }

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

        $crate::options!(@constructor $options { $($field: $default,)+ }
            $($(#[$new_meta])* pub fn new($($argument: $argument_type),+))?);
    };
    (@constructor $options:ident { $($values:tt)+ }) => {
        impl Default for $options {
            fn default() -> Self {
                Self { $($values)+ }
            }
        }
    };
    (@constructor $options:ident { $($values:tt)+ }
        $(#[$new_meta:meta])* pub fn new($($argument:ident: $argument_type:ty),+)) => {
        impl $options {
            $(#[$new_meta])*
            #[must_use]
            pub fn new($($argument: $argument_type),+) -> Self {
                Self { $($values)+ }
            }
        }
    };
}
