"""The lab from Python: a running lab as objects, its calls as methods. What `import lab` offers."""
