//! `greenroom overlay`: what it prints leads to greenroom.
