"""Two small trained networks on scikit-learn's handwritten digits."""
