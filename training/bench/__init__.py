"""What scoring, training and history cost: time, memory and rates, in units of a matrix product of the same run.

`plan` says what is measured, `verdicts` what is needed, `page` writes docs/performance.md, `baseline` holds the small
form against what it cost before. Whatever is measured runs in a process of its own (`child`), so that its memory is its
own, on one thread where a figure is per core.
"""
