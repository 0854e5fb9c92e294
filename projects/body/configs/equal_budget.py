_base_ = './margin.py'

# 24 900 images from the weights of the second run, to compare recipes: half a cosine to zero
train_cfg = dict(max_epochs=3, val_interval=3)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=100),
    dict(
        type='CosineAnnealingLR',
        eta_min=0,
        begin=0,
        end=3,
        by_epoch=True,
        convert_to_iter_based=True,
    ),
]
load_from = 'work_dirs/second_run/epoch_35.pth'
