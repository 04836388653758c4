"""The lab from Python: a lab that stands as objects, its calls as methods. What `import lab` offers."""
