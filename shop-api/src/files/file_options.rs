//! The options of a file as an operator gives them: they replace the options of a preset.

use super::{
    ColumnNames, CurrencySign, Delimiter, FileZone, Import, Preset, RowFilter, TextEncoding,
    ThousandsSeparator, TimePattern, ZoneAbbreviations,
};

/// The options that describe how a file is written. An option that is `None` is the one of the
/// preset, or else the default of [`Import`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[expect(
    missing_docs,
    reason = "the setters of `Import` describe these options"
)]
pub struct FileOptions {
    pub preset: Option<Preset>,
    pub columns: Option<ColumnNames>,
    pub delimiter: Option<Delimiter>,
    pub encoding: Option<TextEncoding>,
    pub skip_lines: Option<u64>,
    pub only: Option<RowFilter>,
    pub decimal_comma: Option<bool>,
    pub thousands: Option<ThousandsSeparator>,
    pub currency_sign: Option<CurrencySign>,
    pub time_pattern: Option<TimePattern>,
    pub zone_abbreviations: Option<ZoneAbbreviations>,
    pub time_zone: Option<FileZone>,
}

impl Import {
    /// Returns this import with `options`. The options of the preset are set first. Then each other
    /// option that is set replaces the option of the preset.
    #[must_use]
    pub fn file_options(self, options: FileOptions) -> Self {
        let mut import = match options.preset {
            Some(preset) => preset.apply(self),
            None => self,
        };
        // Columns are merged one by one, and the other options are replaced as a whole.
        import.columns = match options.columns {
            Some(columns) => columns.with_defaults_from(import.columns),
            None => import.columns,
        };
        import.delimiter = options.delimiter.or(import.delimiter);
        import.encoding = options.encoding.or(import.encoding);
        import.skip_lines = options.skip_lines.unwrap_or(import.skip_lines);
        import.only = options.only.or(import.only);
        import.decimal_comma = options.decimal_comma.unwrap_or(import.decimal_comma);
        import.thousands = options.thousands.or(import.thousands);
        import.currency_sign = options.currency_sign.or(import.currency_sign);
        import.time_pattern = options.time_pattern.or(import.time_pattern);
        import.zone_abbreviations = options
            .zone_abbreviations
            .unwrap_or(import.zone_abbreviations);
        import.time_zone = options.time_zone.or(import.time_zone);
        import
    }
}
