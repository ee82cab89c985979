//! The five systems that purchase tracking replaces: what their clients send and get, what they wrote
//! into topics and collections, and the names of their settings.
//!
//! | module or item | content |
//! |---|---|
//! | [`ReplacedSystems`] | the paths of purchases |
//! | [`ecommerce`] | the paths of users and orders |
//! | [`records`], `documents` | what the systems wrote into topics, and into collections of MongoDB |
//! | [`variables`] | the names that the systems gave to settings |
//! | [`replace`] | the replacement of the programs of a system, step by step |
//!
//! [`ReplacedSystems`] is a [`Role`](shop_http::Role) of the crate `shop-http`. It adds the paths
//! that one of the systems had alone, and writes the paths that several had in the form of the
//! [`Dialect`] that the program chooses:
//!
//! ```
//! use std::sync::Arc;
//!
//! use shop_compat::{Dialect, ReplacedSystems};
//! use shop_core::Shop;
//! use shop_http::{Parts, routes};
//!
//! let shop = Shop::in_memory();
//! let mut parts = Parts::from(shop.backend());
//! let dialect = Dialect::from_name("user-buy-list")?;
//! parts.roles.push(Arc::new(ReplacedSystems::new(dialect)));
//! let routes = routes(parts);
//! assert!(routes.paths().contains(&"/api/buy".to_owned()));
//! let router = routes.build();
//! # Ok::<(), shop_compat::UnknownDialect>(())
//! ```
//!
//! | path | form |
//! |---|---|
//! | `/v1`, also below the prefix of an ingress | none: the native API, whose errors are problems |
//! | `/api/v1` | `shopping-system` |
//! | `/api` | `user-buy-list` |
//! | `/buyList`, other paths below the prefix of an ingress | `scalable-shop` |
//! | `/users`, `/orders` | `ecommerce` |
//! | other paths | the dialect |
//!
//! Each system is a module, which says from top to bottom what the system reads, answers and
//! serves.
//!
//! # Features
//!
//! | feature | adds | default |
//! |---|---|---|
//! | `clap` | `CompatArgs`: the dialect as a flag and a variable of a program | no |
//! | `mongodb` | `documents`: the documents of each system in MongoDB | no |

#![cfg_attr(docsrs, feature(doc_cfg))]

#[cfg(feature = "clap")]
mod args;
#[cfg(test)]
mod backend_test;
mod dialect;
#[cfg(feature = "mongodb")]
pub mod documents;
pub mod ecommerce;
mod fastapi;
mod purchase_tracking;
pub mod records;
#[cfg(test)]
mod records_test;
pub mod replace;
mod role;
mod scalable_shop;
mod shopping_system;
mod system;
mod user_buy_list;
pub mod variables;

#[cfg(feature = "clap")]
pub use args::CompatArgs;
pub use dialect::{Dialect, UnknownDialect};
pub use role::ReplacedSystems;
pub use system::ReplacedSystem;
