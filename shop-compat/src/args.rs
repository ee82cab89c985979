//! The setting of the dialect, as an argument of a command line.
//!
//! The doc comments of the fields are the texts of the help.

use clap::builder::{PossibleValuesParser, TypedValueParser as _};
use clap::{Arg, Args};
use shop_http::{CorsOrigins, HttpArgs, HttpOptions};

use crate::dialect::Dialect;

/// The setting of the dialect for the command line of a program, which clap parses. It needs
/// [`HttpArgs`] too.
///
/// ```
/// use clap::Parser;
/// use shop_compat::CompatArgs;
/// use shop_http::HttpArgs;
///
/// #[derive(Parser)]
/// struct Program {
///     #[command(flatten)]
///     compat: CompatArgs,
///     #[command(flatten)]
///     http: HttpArgs,
/// }
///
/// // Or by the variable SHOP_DIALECT.
/// let program = Program::parse_from(["program", "--dialect", "scalable-shop"]);
/// let mut options = program.http.options(false);
/// program.compat.apply_defaults(&program.http, &mut options);
/// assert!(!options.refunds);
/// ```
#[derive(Debug, Clone, Args)]
#[command(about = None, long_about = None)]
#[non_exhaustive]
pub struct CompatArgs {
    /// Dialect of the paths that do not name one: default, scalable-shop, user-buy-list, ecommerce,
    /// purchase-tracking or shopping-system
    #[arg(long, env = "SHOP_DIALECT", default_value = "default", value_parser = PossibleValuesParser::new(Dialect::names()).try_map(|name| Dialect::from_name(&name)))]
    pub dialect: &'static Dialect,
}

impl CompatArgs {
    /// Sets the options that `http` leaves unset, and for which the dialect has other defaults.
    ///
    /// - Pages of other origins may not call facing, if the pages of the system did not.
    /// - Purchases cannot be refunded: programs of the system on the same topic would store a refund
    ///   as a purchase.
    pub fn apply_defaults(&self, http: &HttpArgs, options: &mut HttpOptions) {
        if http.cors_allow_origins.is_none() && !self.dialect.allows_all_origins {
            let no_origins = Vec::new();
            options.cors = CorsOrigins::List(no_origins);
        }
        let is_replaced_system = self.dialect.name() != Dialect::DEFAULT.name();
        if http.refunds.is_none() && is_replaced_system {
            options.refunds = false;
        }
    }

    /// Returns `argument`. If it is an argument of [`HttpArgs`] whose default depends on the
    /// dialect, its help says so.
    #[must_use]
    pub fn describe_default(argument: Arg) -> Arg {
        match argument.get_id().as_str() {
            "cors_allow_origins" => argument.help(
                "Allowed CORS origins of facing, separated by commas, or * [default: *; none with \
                 authentication or in some dialects]",
            ),
            "refunds" => argument.help(
                "Whether purchases can be refunded: on or off. Programs of a replaced system on the \
                 same topic would store a refund as a purchase [default: on; off in the dialect of \
                 a replaced system]",
            ),
            _ => argument,
        }
    }
}
