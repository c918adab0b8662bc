// The theme draws its icons twice: by this script (1.5 MB) and by the font its style sheet loads. The font is enough.
