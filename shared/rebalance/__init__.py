"""From PSNR tables to weights and volumes: the paper's method, free of networks, files and devices."""
