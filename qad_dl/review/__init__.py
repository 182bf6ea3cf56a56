"""The page on which people look at the queues: one self-contained HTML file, see `page.build_page`."""
