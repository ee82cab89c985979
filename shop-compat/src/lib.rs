//! The five systems that purchase tracking replaces.
