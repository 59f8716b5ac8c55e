//! `api!`: a struct of the API as plain Rust, without the same two lines of attributes on each of its 400 fields.
//!
//! It adds the derives, camelCase names, and "absent, never null" for optional fields. It changes nothing else: what
//! is written inside is what is declared.

/// Declares one struct of a spec or a status.
macro_rules! api {
    ($(#[$meta:meta])* pub struct $name:ident { $($fields:tt)* }) => {
        api!(@field ["camelCase" $(#[$meta])* $name] [] $($fields)*);
    };
    // For the one place where names in a manifest are written with underscores.
    (snake_case $(#[$meta:meta])* pub struct $name:ident { $($fields:tt)* }) => {
        api!(@field ["snake_case" $(#[$meta])* $name] [] $($fields)*);
    };
    (@field $head:tt [$($done:tt)*] $(#[$meta:meta])* pub $field:ident: Option<$inner:ty>, $($rest:tt)*) => {
        api!(@field $head [
            $($done)*
            $(#[$meta])*
            // `default` is for the schema: fields with a schema of their own would count as required without it.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub $field: Option<$inner>,
        ] $($rest)*);
    };
    (@field $head:tt [$($done:tt)*] $(#[$meta:meta])* pub $field:ident: $type:ty, $($rest:tt)*) => {
        api!(@field $head [$($done)* $(#[$meta])* pub $field: $type,] $($rest)*);
    };
    (@field [$case:literal $(#[$meta:meta])* $name:ident] [$($done:tt)*]) => {
        #[derive(Clone, Debug, PartialEq, ::serde::Serialize, ::serde::Deserialize, ::schemars::JsonSchema)]
        #[serde(rename_all = $case)]
        $(#[$meta])*
        pub struct $name { $($done)* }
    };
}

/// Declares a closed set of words. The words are given as they appear in a manifest.
macro_rules! words {
    ($(#[$meta:meta])* pub enum $name:ident { $($(#[$variant_meta:meta])* $variant:ident = $word:literal,)* }) => {
        #[derive(Clone, Copy, Debug, PartialEq, Eq, ::serde::Serialize, ::serde::Deserialize, ::schemars::JsonSchema)]
        $(#[$meta])*
        pub enum $name { $($(#[$variant_meta])* #[serde(rename = $word)] $variant,)* }
    };
}
