//! Formatting of types by a part of them.

/// Implements formatting traits of a type, each by that of an expression. A derive macro for this would be six more
/// crates to compile.
///
/// ```text
/// format_as!(Price: |this| Display = Display(this.0), Debug = Display(this.0));
/// ```
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

pub(crate) use format_as;
