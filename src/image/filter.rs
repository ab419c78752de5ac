//! Filters and order of image listings. Pure.
