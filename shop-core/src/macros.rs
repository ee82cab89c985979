//! Macros.

/// Defines a struct of options: its fields with their defaults, `Default`, and a setter with the
/// name and the documentation of each field. The fields are for this workspace to read, and not
/// documented.
///
/// With `pub fn new(…);` after the struct, this constructor replaces `Default`. Its arguments can
/// be used in the values of the fields. The setter of a field takes the field's type, or what
/// follows its `as`: conversions of numbers would leave the type of a literal open.
///
/// ```
/// shop_core::options! {
///     /// Options of a cache.
///     #[derive(Debug, Clone)]
///     pub struct CacheOptions {
///         /// The maximum number of entries (default 100).
///         pub entries: usize = 100,
///         /// The name (default `cache`).
///         pub name: String as impl Into<String> = "cache".to_owned(),
///     }
/// }
///
/// assert_eq!(CacheOptions::default().entries(7).name("prices").entries, 7);
/// ```
#[doc(hidden)]
#[macro_export]
macro_rules! options {
    (
        $(#[$meta:meta])*
        pub struct $options:ident {
            $($(#[$field_meta:meta])* pub $field:ident: $type:ty $(as $taken:ty)? = $default:expr,)+
        }
        $($(#[$new_meta:meta])* pub fn new($($argument:ident: $argument_type:ty),+);)?
    ) => {
        $(#[$meta])*
        #[non_exhaustive]
        pub struct $options {
            $(#[doc(hidden)] pub $field: $type,)+
        }

        impl $options {
            $($crate::options!(@setter $(#[$field_meta])* $field: $type $(as $taken)?);)+
        }

        $crate::options!(@constructor $options { $($field: $default,)+ }
            $($(#[$new_meta])* pub fn new($($argument: $argument_type),+))?);
    };
    (@setter $(#[$meta:meta])* $field:ident: $type:ty) => {
        $crate::options!(@setter $(#[$meta])* $field: $type as $type);
    };
    (@setter $(#[$meta:meta])* $field:ident: $type:ty as $taken:ty) => {
        $(#[$meta])*
        #[must_use]
        pub fn $field(mut self, $field: $taken) -> Self {
            self.$field = $field.into();
            self
        }
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

/// Defines an enum of named values, with `ALL` and `as_str`, and with `FromStr` if `invalid` is
/// given.
#[doc(hidden)]
#[macro_export]
macro_rules! named_enum {
    (
        $(#[$meta:meta])*
        pub enum $enum:ident {
            $($(#[$value_meta:meta])* $value:ident = $name:literal,)+
        }
        $(invalid: $subject:literal, $reason:literal)?
    ) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[non_exhaustive]
        pub enum $enum {
            $($(#[$value_meta])* $value,)+
        }

        impl $enum {
            /// All values.
            #[doc(hidden)]
            pub const ALL: [Self; [$($name),+].len()] = [$(Self::$value),+];

            /// The name.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$value => $name,)+
                }
            }
        }

        $(
            impl std::str::FromStr for $enum {
                type Err = $crate::Invalid;

                fn from_str(name: &str) -> Result<Self, Self::Err> {
                    Self::ALL
                        .into_iter()
                        .find(|value| value.as_str() == name)
                        .ok_or($crate::Invalid::malformed($subject, $reason))
                }
            }
        )?
    };
}

/// Implements formatting traits of a type, each by a formatting trait of an expression. A derive
/// macro for this would be six more crates to compile.
///
/// ```text
/// format_as!(Price: |this| Display = Display(this.0), Debug = Display(this.0));
/// ```
#[doc(hidden)]
#[macro_export]
macro_rules! format_as {
    ($name:ident: |$this:ident| $($trait:ident = $other:ident($form:expr)),+) => {$(
        impl ::std::fmt::$trait for $name {
            fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                let $this = self;
                ::std::fmt::$other::fmt(&$form, f)
            }
        }
    )+};
}

pub(crate) use {format_as, named_enum};
